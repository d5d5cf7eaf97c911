"""The tests that `make test` leaves to `.ci/run` and `make soak`: each takes more than four seconds on two cores.

They are one in ten, and take two thirds of the time of all. Of each promise about bits, `make test` runs an example.
"""

# By file, the functions.
SLOW = {
    "apparel/test_networks.py": (
        "test_any_number_of_workers_gives_the_same_weights_on_any_machine",
        "test_the_synthetic_set_is_learnt",
    ),
    "families/test_promises.py": (
        "test_a_killed_training_resumes_to_the_same_weights",
        "test_a_reproduction_is_identical_and_is_compared_evaluated_and_listed",
        "test_an_artifact_keeps_its_budget_and_is_served",
        "test_two_processes_give_the_weights_of_one",
    ),
    "browser/test_board.py": (
        "test_curves_and_pictures_are_drawn_in_a_frame_of_the_lab",
        "test_nothing_fails_and_no_other_host_is_asked",
    ),
    "deploy/test_slurm.py": ("test_two_nodes_give_the_weights_of_one_process",),
    "notebooks/test_notebooks.py": (
        "test_notebook_runs_on_small_sets_in_colour",
        "test_notebook_runs_top_to_bottom_in_a_fresh_kernel_without_a_warning",
    ),
    "runs/test_chance.py": ("test_p_is_right_to_the_last_bit_for_up_to_ten_thousand_pairs",),
    "runs/test_run.py": ("test_a_disk_that_fills_up_ends_the_run_in_one_line_with_nothing_half_written",),
    "samebench/test_board.py": ("test_what_a_run_writes_is_seen_while_it_goes_on",),
    "samebench/test_data_targets.py": (
        "test_every_set_comes_and_one_that_is_nowhere_keeps_none_of_the_others",
        "test_make_refuses_to_add_during_a_conflict_and_make_data_merge_gives_the_union",
        "test_the_days_verbs",
    ),
    "samebench/test_determinism.py": (
        "test_a_command_started_without_a_variable_starts_again_with_all_three",
        "test_a_process_that_has_torch_under_other_settings_refuses",
        "test_a_process_without_torch_is_pinned_in_place",
        "test_float32_is_float32_on_a_gpu_but_for_fast",
        "test_only_fast_lifts_the_deterministic_algorithms",
    ),
    "samebench/test_doctor.py": ("test_doctor_with_a_teammates_fingerprint_ends_with_1_where_they_differ",),
    "samebench/test_doctor_host.py": ("test_a_lock_or_dockerfile_that_is_not_the_commits_is_named",),
    "samebench/test_drift.py": ("test_a_training_says_what_drifted_and_its_receipt_has_it",),
    "samebench/test_dvc.py": ("test_a_killed_pull_leaves_whole_files_or_none_and_the_next_completes",),
    "samebench/test_environment.py": (
        "test_a_flag_of_the_interpreter_is_named",
        "test_it_runs_alone_with_the_standard_library_and_twice_gives_the_same_bytes",
        "test_neither_a_host_a_user_nor_a_path_is_told",
    ),
    "samebench/test_group.py": (
        "test_a_mistake_in_what_they_do_together_is_not_a_lost_process",
        "test_an_address_where_nobody_is_ends_in_one_line",
        "test_machines_that_never_come_end_the_wait_in_one_line",
        "test_the_exit_code_is_that_of_the_one_that_ended_first",
        "test_the_traceback_of_one_comes_first_and_the_others_end_at_once",
        "test_three_processes_hear_and_give_the_same",
        "test_two_machines_meet_at_an_address_whichever_is_there_first",
    ),
    "samebench/test_growing.py": (
        "test_a_batch_that_was_labelled_after_active_learning_is_added",
        "test_images_are_added",
        "test_older_images_are_replaced",
    ),
    "samebench/test_hook.py": ("test_clean_change_is_committed_and_the_hook_says_nothing",),
    "samebench/test_hostile_data.py": ("test_a_version_is_added_without_dvc_as_dvc_would_add_it",),
    "samebench/test_import_folders.py": (
        "test_a_folder_that_another_user_keeps_to_himself_is_named_and_the_others_are_in",
        "test_an_import_that_is_refused_leaves_a_report_and_one_that_is_not_takes_it_away",
    ),
    "samebench/test_import_images.py": ("test_the_split_of_2000_images_is_the_same_after_200_were_added",),
    "samebench/test_import_memory.py": (
        "test_a_thousand_classes_take_hardly_more_memory_than_two",
        "test_memory_does_not_grow_with_rows",
        "test_memory_does_not_grow_with_the_pixels",
    ),
    "samebench/test_jupyter_options.py": (
        "test_a_kernel_answers_through_the_proxy_and_the_terminal_says_that_it_was_killed",
        "test_the_link_and_the_health_check_have_the_path",
    ),
    "samebench/test_lint.py": (
        "test_a_notebook_with_outputs_is_normal_work_where_git_leaves_them_out",
        "test_tree_without_git_is_checked_and_stays_without",
    ),
    "samebench/test_notebook.py": ("test_every_handler_is_closed_without_the_token",),
    "samebench/test_overlay.py": ("test_runs_made_there_say_so_and_reproduce_names_it",),
    "samebench/test_packages.py": ("test_what_cannot_be_added_gets_one_line_and_nothing_is_written",),
    "samebench/test_remotes.py": (
        "test_a_flipped_bit_on_the_remote_is_named_and_its_remedy_works",
        "test_a_remote_that_cannot_be_reached_gets_one_line",
    ),
    "samebench/test_runs.py": ("test_a_damaged_run_is_shown_with_the_reason_beside_the_others",),
    "samebench/test_runtime.py": ("test_a_port_out_of_range_is_refused_in_every_runtime",),
    "samebench/test_runtime_gpu.py": ("test_the_gpus_asked_for_are_handed_over_and_no_others",),
    "samebench/test_servers.py": (
        "test_kernel_that_cannot_start_is_said_and_the_server_ends",
        "test_secret_is_in_no_command_line",
        "test_server_ends_at_whatever_moment_it_is_told_to",
        "test_setting_is_still_there_after_a_restart",
        "test_stopped_server_leaves_no_process_and_no_file",
        "test_wedged_server_is_unhealthy_and_a_ready_one_healthy",
    ),
    "samebench/test_source_tree.py": ("test_a_training_says_that_git_failed_and_goes_on",),
    "samebench/test_sweep.py": (
        "test_lines_bear_their_point_and_the_table_is_in_the_order_of_the_grid",
        "test_the_same_sweep_again_trains_only_what_is_not_done",
        "test_trainings_get_their_share_of_the_cores",
        "test_a_run_counts_for_a_point_only_where_nothing_that_is_compared_differs",
        "test_a_point_that_another_process_works_on_is_left_to_it",
        "test_ctrl_c_leaves_a_run_that_the_same_command_takes_up",
        "test_every_point_is_trained_and_a_failing_one_stops_no_other",
    ),
    "samebench/test_verify.py": ("test_a_member_that_no_image_has_is_refused_though_signed",),
    "samebench/test_versions.py": (
        "test_versions_that_were_never_pushed_go_along_with_the_next_push",
        "test_what_one_records_and_pushes_another_brings_to_the_byte",
    ),
    "samebench/test_without_pilot.py": ("test_what_is_about_the_pilot_is_skipped_in_one_line_where_it_is_gone",),
    "sections/test_encoder.py": (
        "test_any_number_of_threads_gives_the_same_weights",
        "test_two_processes_give_the_weights_of_one",
    ),
    "serving/test_clients.py": ("test_an_idle_connection_outlives_those_of_proxies_and_ends_when_told_to_stop",),
    "serving/test_crowd.py": ("test_more_idle_connections_than_files_keep_nobody_out_and_fill_no_log",),
    "serving/test_limits.py": (
        "test_an_idle_connection_is_closed",
        "test_who_is_late_is_told_so_and_sent_away",
    ),
    "serving/test_own_data.py": (
        "test_a_training_on_ones_own_pictures_learns_and_tells_which_they_were",
        "test_evaluation_names_the_data_sets_own_categories",
        "test_the_words_of_the_makefile_are_all_that_it_takes",
    ),
    "serving/test_picture_files.py": ("test_a_picture_of_one_colour_or_none_has_nothing_to_see",),
    "serving/test_server.py": ("test_told_to_stop_it_gives_up_what_would_take_longer",),
    "serving/test_soak.py": (
        "test_many_clients_get_right_answers",
        "test_told_to_stop_under_load_it_loses_no_request",
    ),
    "serving/test_workers.py": ("test_told_to_stop_all_workers_end_and_no_request_is_lost",),
    "shipping/test_flow_run.py": (
        "test_a_missing_file_of_the_data_is_named_and_the_run_is_what_it_was",
        "test_a_run_is_named_by_its_id_alone_everywhere",
        "test_only_a_run_that_is_done_counts_and_another_can_be_asked_for",
    ),
    "shipping/test_flow_shipped.py": ("test_a_picture_and_an_artifact_of_other_weights_are_stale",),
    "training/test_checkpoint.py": ("test_a_training_that_may_not_save_any_more_stops_in_one_line",),
    "training/test_compare.py": ("test_ids_and_directories_are_taken_and_json_is_one_document",),
    "training/test_curves.py": ("test_pictures_of_a_long_run_stay_small",),
    "training/test_foreign_weights.py": ("test_it_is_resumed_and_reproduced_from_anywhere_by_its_hash",),
    "training/test_freeze.py": (
        "test_one_thread_and_an_interruption_change_nothing",
        "test_what_is_frozen_stays_with_its_statistics_and_the_rest_learns",
    ),
    "training/test_hostile.py": ("test_no_receipt_of_a_stranger_ends_in_a_traceback_or_steers_the_terminal",),
    "training/test_hostile_verbs.py": (
        "test_no_receipt_of_a_stranger_disturbs_what_lists_notes_prunes_sweeps_or_draws",
    ),
    "training/test_initial_command.py": (
        "test_reproduce_trains_from_the_same_weights_or_says_in_one_line_which_are_wanted",
        "test_the_network_is_that_of_the_initial_model_unless_another_is_asked_for",
        "test_two_processes_start_from_it_to_the_same_bits",
    ),
    "training/test_initial_resume.py": ("test_a_run_with_a_checkpoint_needs_its_initial_model_no_more",),
    "training/test_kill.py": (
        "test_killed_at_any_point_of_a_save_it_resumes_to_the_same_weights",
        "test_killed_at_random_instants_also_of_the_resumption",
    ),
    "training/test_mixed_run.py": (
        "test_an_artifact_that_is_not_the_exported_one_is_made_anew_before_it_is_served",
        "test_the_weights_of_another_run_are_refused_and_nothing_is_written",
    ),
    "training/test_processes.py": (
        "test_a_slow_leader_is_heard_before_the_others_end",
        "test_any_number_of_processes_gives_the_weights_of_one",
        "test_one_that_is_killed_ends_all_and_the_next_start_goes_on",
        "test_told_to_stop_they_stop_at_the_same_step",
        "test_what_is_refused_is_said_once_and_leaves_no_run",
        "test_with_restarts_the_job_goes_on_by_itself",
    ),
    "training/test_reproduce.py": (
        "test_a_changed_setting_is_named_and_nothing_else",
        "test_a_data_byte_that_is_not_as_git_says_is_named_before_any_training",
        "test_a_run_at_another_cpu_level_is_named_by_its_variables",
        "test_a_second_clone_with_nothing_but_the_receipt_gives_the_same_weights",
        "test_reproduce_ends_with_identical_and_after_one_change_with_its_name_alone",
        "test_what_is_no_receipt_is_refused_in_one_line",
    ),
    "training/test_resume.py": (
        "test_a_done_run_that_is_extended_and_interrupted_keeps_nothing_of_its_former_end",
        "test_a_model_that_was_lost_is_written_anew",
        "test_a_run_that_loses_the_gpu_names_its_checkpoint_and_resumes",
    ),
    "training/test_resume_command.py": (
        "test_a_run_whose_lines_nobody_reads_any_more_can_be_resumed",
        "test_a_second_ctrl_c_leaves_at_once",
        "test_every_save_writes_syncs_renames_and_syncs_the_directory_in_this_order",
        "test_one_process_of_a_job_that_is_started_again_goes_on_with_its_run",
        "test_the_command_that_was_printed_resumes",
        "test_the_line_that_was_printed_goes_on_with_the_run_when_it_is_copied",
    ),
    "training/test_storage_faults.py": (
        "test_storage_that_fails_ends_a_training_in_one_line_and_the_run_can_be_resumed",
    ),
    "training/test_train.py": (
        "test_a_fast_training_says_so_in_its_receipt",
        "test_a_setting_that_cannot_be_is_refused_in_one_line",
        "test_a_stopped_command_says_so_in_one_line_and_exits_with_4",
        "test_another_setting_gives_other_weights",
        "test_one_batch_is_learnt_to_almost_no_loss",
    ),
}
# The one case of a slow function that `make test` runs.
EXAMPLES = {
    "training/test_kill.py::test_killed_at_any_point_of_a_save_it_resumes_to_the_same_weights[50 % written]",
}


def is_slow(nodeid: str) -> bool:
    """Whether `make test` leaves out the test with this name, such as tests/training/test_kill.py::test_x[y]."""
    file, _, test = nodeid.removeprefix("tests/").partition("::")
    return test.partition("[")[0] in SLOW.get(file, ()) and f"{file}::{test}" not in EXAMPLES
