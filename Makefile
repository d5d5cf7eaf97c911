# The day's verbs. Every recipe is one command; where it runs is src/samebench/host's affair.
#
#   make train ARGS="--epochs 1 --seed 3"     settings of the command behind a target
#   make train PROJECT=prices                 a project beside that of pyproject.toml, of any target
#   make train RUNTIME=local                  auto (default), docker, podman or local
#   make train DATA=/some/where               data files that are already there
#   make data-import FROM=photos NAME=shoes   a folder of pictures with one sub-folder a class, or a .csv, as a data set
#   make train DATASET=shoes                  that data set, of any target that takes data
#   make data DATASET=shoes                   that set alone, in the version that the checkout names
#   make data-push DATA_REMOTE=ssh://me@host/data   the team's remote for once; else the one of .dvc/config (docs/data.md)
#   make data-diff A=HEAD~1 B=HEAD JSON=1     between two revisions of git (B: what is in data/)
#   make train FAST=1                         the machine's full speed instead of the same bits everywhere
#   make train PROCS=4                        four processes, the same bits (NNODES and more: src/samebench/training/launch.py)
#   make train RESUME=latest                  an interrupted or killed run (or RESUME=runs/<id>)
#   make train INIT=runs/<id>                 starts from that run's model, with its statistics (or from a model.safetensors)
#   make sweep GRID="lr=0.1,0.3 seed=0,1" JOBS=2   a training for each combination; again: what is not done yet
#   make runs SORT=-validation_loss FILTER="epochs>=5"   the lowest first, of some; JSON=1 for machines
#   make note TEXT="why" RUN=runs/<id>        a thought kept with a run (default: the newest)
#   make prune KEEP=best,last,5 YES=1         deletes all other runs that can be read; without YES=1 it asks
#   make prune DELETE=<id>                    deletes that run, damaged ones too; several with commas
#   make evaluate RUN=runs/<id>               one run instead of the newest
#   make compare RUNS="<id> <id>"             two or more runs side by side; JSON=1 for machines
#   make serve RUN=runs/<id> PORT=9000        the page and the interface of one run
#   make serve WORKERS=2                      several processes on as many cores
#   make ship KEY=~/samebench.key             what a partner gets of it, signed (PLATFORM=linux/arm64: for that)
#   make reproduce QUICK=1                    the golden run, whose hash is in git
#   make notebook PORT=9000 OPEN=1            another port; opens the browser
#   make notebook DATASET=shoes               the notebooks look at that data set
#   make notebook ARGS="--ServerApp.base_url=/bench/"   JupyterLab's own options
#   make shell AGENT=1                        with the SSH agent, to push from in there (make notebook AGENT=1, too)
#   make test ARGS="tests/samebench -x"       some tests, in one process (JOBS=4: in four); without ARGS= in one a core
#   make doctor WITH=theirs.json              only what differs from a teammate's `make fingerprint`; JSON=1 for machines
#   make flow RUN=runs/<id>                   the steps of one run instead of the newest; JSON=1 for machines
#   make train GPU=1                          on the GPU, of any target; without one: code 3, and never the CPU instead
#   make train GPU=0,2                        on these, as nvidia-smi numbers them; one alone: GPU=2,
#   make build GPU=1 ELSEWHERE=1              the GPU image for other machines, on one without a GPU
#   make build CHECK=1                        twice from nothing: the same image, or the files that differ
#   make push TO=registry.example/team/bench  the image of the workspace to the team's registry; teammates pull it
#   make build EXPECT=theirs.json             a teammate's image (their `make fingerprint`, or a digest), or what differs
#
# Kept to what GNU Make 3.81 knows: macOS has no other.

# What decides an action counts from this command line only, whatever the shell exports. What describes the machine
# (RUNTIME, GPU, DATA, DATA_REMOTE, BASE_IMAGE, CA_CERT, WHEELHOUSE, indexes, proxies) and what a cluster tells the
# processes of a training (src/samebench/training/launch.py) count from the environment, too.
SWITCHES := AGENT CHECK ELSEWHERE FAST JSON OPEN QUICK YES
ACTIONS := $(SWITCHES) A ARGS B DATASET DELETE EXPECT FILTER FROM GRID INIT JOBS JUPYTER_TOKEN KEEP KEY KIND NAME NOTE PKG PLATFORM PORT \
	PROJECT RESUME RUN RUNS SORT TEXT TO TOKEN WITH
MACHINE := API_KEY BASE_IMAGE CA_CERT DATA DATA_REMOTE GPU HOME HOST HTTP_PROXY HTTPS_PROXY JOB JOIN_TIMEOUT KEEP_ALIVE MASTER_ADDR MASTER_PORT \
	NNODES NODE_RANK NO_PROXY NPROC_PER_NODE PATH PROCS RESTARTS RUNTIME SERVE SHELL SSL_CERT_FILE TERM TMPDIR TORCH_INDEX TZ WHEELHOUSE WORKERS \
	http_proxy https_proxy no_proxy CONTAINER% CUDA_% DOCKER_% GLOO_% MAKE% NCCL_% PET_% PIP_% SAMEBENCH% SSH_% UV_%

# No variable of the command line is passed over in silence: DATSET=shoes would train on something else.
GIVEN := $(strip $(foreach each,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $(each)))),$(each))))
UNKNOWN := $(firstword $(filter-out $(ACTIONS) $(MACHINE),$(GIVEN)))
QUOTED = '$(subst ','\'',$(UNKNOWN))'
NEAREST = $(shell python3 -I -c 'import difflib, sys; print(*difflib.get_close_matches(sys.argv[1].upper(), sys.argv[2:], 1, 0.8))' $(QUOTED) $(ACTIONS) $(MACHINE))
FLAG = ARGS="--$(shell printf %s $(QUOTED) | tr A-Z_ a-z-) $(value $(UNKNOWN))"
MEANT = $(or $(patsubst %,did you mean %?,$(NEAREST)),for a setting give $(FLAG), for others see the head of the Makefile)
$(if $(UNKNOWN),$(error no variable $(UNKNOWN); $(MEANT)))

DROP = $(eval override $1 :=)$(eval unexport $1)
$(foreach each,$(ACTIONS),$(if $(filter environment,$(firstword $(origin $(each)))),$(call DROP,$(each))))

# A switch: no other word counts, as what is meant by YES=no must not be done.
ON = $(if $(filter-out 0,$($1)),$(if $(filter-out 1,$($1)),$(error $1=$($1): give $1=1, or leave it out),$1))
$(foreach each,$(SWITCHES),$(if $(call ON,$(each)),,$(call DROP,$(each))))

# A make that is called in `make shell` begins anew.
unexport MAKEFLAGS MAKEOVERRIDES MFLAGS

.DEFAULT_GOAL := help
.PHONY: help build push notebook new-project tensorboard train sweep runs note prune reproduce evaluate compare export serve ship test soak bench flow doctor fingerprint data data-import data-add data-merge data-push data-diff shell hooks lint format lock add remove try clean

# Inside the image, or in `make shell`, we are there already.
NO_PYTHON = $(error no python3 on this machine; install Python 3.9 or newer)
ON_HOST = $(if $(shell command -v python3 2>/dev/null),python3,$(NO_PYTHON)) -I src/samebench/host
HERE := $(if $(filter-out 0,$(GPU)),python -m samebench.environment.accelerator)
BENCH = $(if $(SAMEBENCH),$(HERE),$(ON_HOST))
CARRY = $(if $(SAMEBENCH),$(HERE),$(ON_HOST) --carry)# and data is fetched if it is not there, or pushed
BOOTSTRAP = $(ON_HOST) $(if $(SAMEBENCH),--inside,--bootstrap)# and no image is built of the locks
SERVICE = $(if $(SAMEBENCH),$(HERE),$(ON_HOST) --serve $(1))

SET = $(if $(and $(DATA),$(DATASET)),$(error DATA=$(DATA) and DATASET=$(DATASET): give one of them),$(DATA)$(DATASET))
ASKED = $(if $(SET),--data "$(SET)") $(ARGS)
FLAGS = $(if $(FAST),--fast) $(if $(INIT),--init "$(INIT)") $(ASKED)

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1	\2/p' Makefile | expand -t 14

build: ## build the workspace image
	@$(ON_HOST) --build

push: ## carry the workspace image to the team's registry: make push TO=registry.example/team/bench
	@$(ON_HOST) --push

notebook: hooks ## JupyterLab on this checkout, on loopback, behind a fresh token
	@$(if $(SET),DATA="$(SET)") $(call SERVICE,8888) python -m samebench.workspace.notebook $(ARGS)

new-project: ## a project of your own: make new-project NAME=prices KIND=table (or images, text)
	@$(BENCH) python -m samebench.tasks.new_project $(if $(NAME),"$(NAME)") $(if $(KIND),"$(KIND)")

tensorboard: ## TensorBoard on runs/, the same way
	@$(call SERVICE,6006) python -m samebench.workspace.tensorboard

train: ## train; prints where the run is
	@$(CARRY) python -m samebench.training $(if $(RESUME),--resume "$(RESUME)") $(FLAGS)

sweep: ## train over a grid of settings: make sweep GRID="lr=0.1,0.3" JOBS=2
	@$(CARRY) python -m samebench.runs.sweep --grid="$(GRID)" $(if $(JOBS),--jobs="$(JOBS)") -- $(FLAGS)

runs: ## a table of the runs: what each changed, and what came out
	@$(BENCH) python -m samebench.runs.list_runs --sort="$(SORT)" --filter="$(FILTER)" $(if $(JSON),--json)

# As it was given: neither make nor a shell looks into it.
unexport TEXT
note: export NOTE := $(value TEXT)
note: ## a thought kept with a run: make note TEXT="why"
	@$(BENCH) python -m samebench.runs.notes $(if $(RUN),--run "$(RUN)")

prune: ## delete runs: make prune KEEP=best,last,5 (or DELETE=<id>)
	@$(BENCH) python -m samebench.runs.prune --keep="$(KEEP)" --delete="$(DELETE)" $(if $(YES),--yes)

reproduce: ## train a run again: identical, or what has changed
	@$(CARRY) python -m samebench.training.reproduce $(if $(RUN),--run "$(RUN)") $(if $(QUICK),--quick) $(FLAGS)

export: ## a run's model as an artifact: model.onnx, its hash, a model card
	@$(CARRY) python -m samebench.serving.export $(if $(RUN),--run "$(RUN)") $(ASKED)

serve: ## the page and POST /predict, of the newest good run
	@$(ON_HOST) --serve-image 8000 python -m samebench.serving.export --if-needed $(if $(RUN),--run "$(RUN)") $(ASKED)

ship: ## what a partner gets: image, SBOM, card, signature, in dist/
	@$(ON_HOST) --ship python -m samebench.serving.export --if-needed $(if $(RUN),--run "$(RUN)") $(ASKED)

evaluate: ## per-class figures and confusion matrix of a run
	@$(CARRY) python -m samebench.training.evaluate $(if $(RUN),--run "$(RUN)") $(ASKED)

compare: ## runs side by side: what differs, their curves, and what is more than chance
	@$(CARRY) python -m samebench.training.compare --runs "$(RUNS)" $(if $(JSON),--json) $(ASKED)

# As many processes as cores, at most four; one where some tests are asked for, or JOBS= says so.
LANES = -n $(or $(JOBS),$(if $(ARGS),0,auto)) --maxprocesses 4
# The tests that ARGS names: they alone run then, without lint. What is left out is not named.
CHOSEN = $(filter tests tests/%,$(subst --ignore ,--ignore=,$(subst --deselect ,--deselect=,$(ARGS))))
BESIDE = $(filter-out tests/image%,$(CHOSEN))
# Without the slow tests, which tests/slow.py lists.
QUICKLY = -m "not soak and not slow"
test: ## check every promise that this machine can check, in minutes; make soak checks the slow ones
	@$(BENCH) sh -c '$(if $(CHOSEN),,python -m samebench.workspace.lint && )exec pytest "$$@"' test $(LANES) $(if $(CHOSEN),,$(QUICKLY)) $(ARGS)
	@$(if $(or $(SAMEBENCH),$(and $(CHOSEN),$(if $(filter tests tests/image%,$(CHOSEN)),,x))),true,$(ON_HOST) --test-engine $(if $(filter tests/image%,$(CHOSEN)),,tests/image) $(filter-out $(BESIDE),$(ARGS)))

soak: ## the checks that run long, and the slow ones of make test
	@$(BENCH) pytest -m "soak or slow" $(ARGS)

bench: ## what a machine takes for it: make bench, or ARGS=notebook_start for one
	@$(BENCH) python -m benchmarks $(ARGS)

flow: ## data to bundle as a picture: what is up to date, stale or missing, and what brings it up
	@$(ON_HOST) --flow samebench.shipping.flow $(if $(RUN),--run "$(RUN)") $(ASKED)

doctor: ## is this machine, and what is installed, as it must be: ok, or what is not and what mends it
	@$(ON_HOST) --doctor

fingerprint: ## what is installed and set here: make fingerprint >mine.json
	@$(BENCH) python -m samebench.environment.fingerprint

data: ## have the data in the version of this checkout, or verify DATA=
	@$(CARRY) python -m samebench.data.fetch $(if $(DATASET),--dataset) $(if $(SET),"$(SET)") $(ARGS)

data-import: ## your own pictures as a data set: make data-import FROM=photos NAME=shoes
	@$(BENCH) python -m samebench.tasks.image_classification.import_images --source "$(FROM)" --name "$(NAME)" $(ARGS)

data-add: ## make what is in data/ the version of this checkout
	@$(BENCH) python -m samebench.data.versions add $(if $(DATASET),"$(DATASET)")

data-merge: ## the union of two branches' versions, during git merge: make data-merge DATASET=shoes
	@$(CARRY) python -m samebench.data.merge "$(DATASET)"

data-push: ## carry this version of the data to the team's remote
	@$(CARRY) python -m samebench.data.versions push $(if $(DATASET),"$(DATASET)")

data-diff: ## what has changed between two versions: make data-diff A=HEAD~1
	@$(CARRY) python -m samebench.data.diff $(if $(DATASET),--dataset "$(DATASET)") $(if $(JSON),--json) "$(A)" $(if $(B),"$(B)")

shell: ## a shell in the environment
	@$(BENCH) bash

hooks: ## check every commit, keep outputs out of git; safe to repeat
	@$(ON_HOST) --hooks

lint: ## every check of a commit, on all files
	@$(BENCH) python -m samebench.workspace.lint

format: ## format, and mend what can be mended
	@$(BENCH) sh -c 'ruff check --fix-only --quiet . ; ruff format .'

lock: ## write the locks from pyproject.toml
	@$(BOOTSTRAP) python -m samebench.environment.lock

# As it was given: neither make nor a shell looks into it.
unexport PKG
add remove try: export PACKAGES := $(value PKG)
add: ## add packages and lock: make add PKG="pandas>=2 timm"
	@$(BOOTSTRAP) python -m samebench.environment.packages add

remove: ## remove packages and lock: make remove PKG=name
	@$(BOOTSTRAP) python -m samebench.environment.packages remove

try: ## packages for a while, in a shell: make try PKG=name (ARGS="python script.py", or ARGS=notebook)
	@$(if $(filter notebook,$(ARGS)),$(call SERVICE,8888),$(BENCH)) python -m samebench.environment.overlay $(if $(filter notebook,$(ARGS)),python -m samebench.workspace.notebook,$(or $(ARGS),bash))

clean: ## remove what can be made again; never data or runs
	@rm -rf .venv* .mypy_cache .pytest_cache .ruff_cache
