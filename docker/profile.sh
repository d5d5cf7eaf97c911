# Every shell of the image reads this file: /etc/profile.d/samebench.sh for a login shell, /etc/bash.bashrc for any other.
# shellcheck shell=bash disable=SC1091 # the files are the image's

# `su -` starts with a PATH of its own.
case :$PATH: in *:/opt/venv/bin:*) ;; *) export PATH="/opt/venv/bin:$PATH" ;; esac

# The language of a host that is not installed here: every perl and bash would complain.
if [ -n "$(locale 2>&1 >/dev/null)" ]; then
    {
        export LANG=C.UTF-8
        unset LC_ALL LC_CTYPE LC_COLLATE LC_MESSAGES LC_MONETARY LC_NUMERIC LC_TIME LANGUAGE
    } 2>/dev/null # bash complains once more at each of them
fi

# The rest is for bash with somebody in front of it.
case $-:${BASH_VERSION:-} in
*i*:?*) ;;
*) return 0 ;;
esac

GPG_TTY=$(tty)
export GPG_TTY # where gpg asks for a passphrase

# The container goes, the history stays in the checkout.
if [ -d /workspace/.samebench ] && [ -w /workspace/.samebench ] && [ ! -L /workspace/.samebench ] &&
    [ ! -L /workspace/.samebench/bash_history ]; then
    HISTFILE=/workspace/.samebench/bash_history
else
    HISTFILE=${HOME:-/tmp}/.bash_history
fi
HISTSIZE=10000 HISTCONTROL=ignoreboth # a line that begins with a space is not written
shopt -s histappend
PROMPT_COMMAND='history -a'

if [ -r /usr/lib/git-core/git-sh-prompt ]; then . /usr/lib/git-core/git-sh-prompt; else __git_ps1() { :; }; fi
PS1='samebench:@FLAVOUR@ \w$(__git_ps1 " (%s)")\$ '

if [ -r /usr/share/bash-completion/bash_completion ]; then . /usr/share/bash-completion/bash_completion; fi
