# A day in the workspace: what somebody does in a shell of it. A line for each step; the last one says that all were tried.
#
#   bash day.sh ADDRESS KEYS    ADDRESS: of the team's repository over SSH; KEYS: the folder of id_ed25519 and known_hosts
address=$1 keys=$2
work=$(mktemp -d)
cd "$work" || exit 1

step() {
    name=$1
    shift
    if "$@" >"$work/said" 2>&1; then
        echo "step $name: ok"
    else
        echo "step $name: failed: $(tail -n 3 "$work/said" | tr '\n' ' ')"
    fi
}

install -m 600 "$keys/id_ed25519" "$keys/id_ed25519.pub" "$work"
export GIT_SSH_COMMAND="ssh -i $work/id_ed25519 -o IdentitiesOnly=yes -o UserKnownHostsFile=$keys/known_hosts"
export GIT_TERMINAL_PROMPT=0 GNUPGHOME="$work/gnupg"
mkdir -m 700 "$GNUPGHOME"

named() { [ -n "$(whoami)" ] && python -c 'import getpass; getpass.getuser()'; }
edit() { echo "a line" >>notes.md && git add notes.md; }
sign_with_ssh() {
    git config gpg.format ssh
    git config user.signingKey "$work/id_ed25519.pub"
    echo "jane@example.com $(cat "$work/id_ed25519.pub")" >"$work/signers"
    git config gpg.ssh.allowedSignersFile "$work/signers"
    git commit --quiet -S --message "Signed with SSH" && git verify-commit HEAD
}
sign_with_gpg() {
    gpg --batch --quiet --passphrase '' --quick-gen-key 'Jane <jane@example.com>' ed25519 sign never
    git config gpg.format openpgp
    git config --unset user.signingKey
    echo another >>notes.md
    git commit --quiet --all -S --message "Signed with GPG" && git verify-commit HEAD
}
compile() { python -c 'import torch; print(torch.compile(lambda x: torch.sin(x) + 1)(torch.ones(3)))'; }
extend() {
    python - <<END
from torch.utils.cpp_extension import load_inline
code = "#include <torch/extension.h>\ntorch::Tensor twice(torch::Tensor x) { return x * 2; }"
module = load_inline("twice", cpp_sources=code, functions="twice", build_directory="$work")
import torch
assert module.twice(torch.ones(2)).tolist() == [2, 2]
END
}
execute() {
    python - <<END
import nbformat
cell = nbformat.v4.new_code_cell("from tqdm.notebook import tqdm\nfor _ in tqdm(range(3)): pass")
nbformat.write(nbformat.v4.new_notebook(cells=[cell]), "$work/bar.ipynb")
END
    jupyter nbconvert --to notebook --execute --inplace "$work/bar.ipynb" &&
        grep -q application/vnd.jupyter.widget-view "$work/bar.ipynb" && ! grep -q TqdmWarning "$work/bar.ipynb"
}
track() { git lfs install --local && git lfs track '*.bin' && grep -q 'filter=lfs' .gitattributes; }

step "a name" named
step "clone over SSH" git clone --quiet "$address" clone
cd clone || { echo "the day is over" && exit 1; }
git config user.name Jane
git config user.email jane@example.com
step "edit" edit
step "commit signed with SSH" sign_with_ssh
step "commit signed with GPG" sign_with_gpg
step "push" git push --quiet origin HEAD
step "lint" make lint
step "a test" make test ARGS=tests/test_one.py
step "train" make train ARGS="--data synthetic --epochs 1"
step "torch.compile" compile
step "a C++ extension" extend
step "tqdm.notebook" execute
step "git-lfs" track
step "git's manual" git help commit
for program in less ps curl unzip jq; do step "$program" command -v $program; done
cd /
rm -rf "$work"
echo "the day is over"
