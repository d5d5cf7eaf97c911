# Makes what a partner gets: dist/BUNDLE-<version>-<architecture>/. Read by runtime.sh, whose functions it uses.
#
# The host's part: the image, what it says is inside, the signature. The files are src/samebench/bundle.py's affair, in the
# runtime; the key is opened by openssl on the host, and no container ever sees it.
# shellcheck shell=sh disable=SC2034,SC2154 # variables that runtime.sh sets or reads

ship() {
    bundle=$1 name=$2
    shift 2
    [ -z "${SAMEBENCH:-}" ] || fail 3 "make ship: no engine in here; run it on the host, outside of the container"
    [ -n "${KEY:-}" ] || fail 2 "make ship: signed with which key? Give KEY=/a/folder/outside/samebench.key; it is made the first time"
    command -v openssl >/dev/null || fail 3 "make ship: no openssl on this machine, which signs; install it"
    choose_runtime
    [ "$RUNTIME" != local ] || [ "$reason" != "asked for" ] || fail 2 "make ship: RUNTIME=local makes no images, and a bundle holds one; leave RUNTIME out, or give docker or podman"
    [ "$RUNTIME" != local ] || fail 3 "make ship: no engine answers, and a bundle holds an image; install docker or podman"
    check_key
    make_artifact "$@"
    out_of "$artifact"
    flavour=serve
    ensure_image
    work=$(mktemp -d dist/.making.XXXXXX)
    trap 'rm -rf "$work"' EXIT
    trap 'exit 4' HUP INT TERM
    in_image "" verify >&2 || fail 3 "$image: does not answer right about itself (see above); there is no bundle of it"
    fill
    sign
    publish
}

# ---- the key ----

check_key() {
    case $KEY in [~]/*) KEY=$HOME/${KEY#??} ;; esac # not every shell opens a ~ behind a =
    folder=$(cd "$(dirname "$KEY")" 2>/dev/null && pwd -P) || fail 2 "KEY=$KEY: no folder $(dirname "$KEY"); make it, or give another"
    KEY=$folder/$(basename "$KEY") public=${KEY%.key}.pub
    [ ! -L "$KEY" ] || fail 2 "KEY=$KEY: a link; give the file itself"
    [ ! -d "$KEY" ] || fail 2 "KEY=$KEY: a folder; give a file in it, such as $KEY/samebench.key"
    # What containers are handed, and the checkout, out of which things get into git.
    for each in . "${DATA:-}" "${RUN:-}" "$WHEELHOUSE"; do out_of "$each"; done
    [ -e "$KEY" ] || make_key
    case $(ls -l "$KEY") in -??-------*) ;; *) fail 2 "KEY=$KEY: others may read it; chmod 600 it, or make another if they have" ;; esac
    openssl rsa -in "$KEY" -noout 2>/dev/null || fail 2 "KEY=$KEY: not a private RSA key that openssl reads; give another, or a name that is free, to make one"
    tell_public
}

# out_of FOLDER: refuses a key that lies in there.
out_of() {
    [ -d "$1" ] || return 0
    case $KEY in "$(cd "$1" && pwd -P)"/*) fail 2 "KEY=$KEY: in $(cd "$1" && pwd -P), which goes into containers, an image or git; keep it elsewhere" ;; esac
}

# RSA, whose signature over the same bytes is the same; 3072 bits are what NIST SP 800-57 asks for beyond 2030.
make_key() {
    (umask 077 && openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:3072 -out "$KEY" 2>/dev/null) || fail 3 "KEY=$KEY: could not be made there; give a folder that is yours"
    say "a new signing key, $KEY: keep it to yourself, and keep a copy"
}

tell_public() {
    expected=$(openssl pkey -in "$KEY" -pubout)
    [ -e "$public" ] || printf '%s\n' "$expected" >"$public"
    [ "$(cat "$public")" = "$expected" ] || fail 2 "$public: belongs to another key than $KEY; move it away"
    say "signed by $public, fingerprint sha256:$(openssl pkey -in "$KEY" -pubout -outform DER | sha256 64): give partners both, by another way than the bundle"
}

sign() {
    openssl dgst -sha256 -sign "$KEY" -out "$work/SHA256SUMS.sig" "$work/SHA256SUMS" || fail 2 "KEY=$KEY: can't sign (see above); give another, or a name that is free, to make one"
}

# ---- the bundle ----

# in_image PROGRAM WORD…: in the finished image, without a network or any power; an empty PROGRAM is the image's own.
in_image() {
    program=$1
    shift
    # shellcheck disable=SC2086 # two words or none
    "$RUNTIME" run --rm --interactive ${platform:+--platform $platform} --network none --read-only --cap-drop ALL \
        --security-opt no-new-privileges ${program:+--user 0:0 --entrypoint $program} "$image" "$@"
}

fill() {
    cp "$artifact/../receipt.json" "$artifact/card.md" "$work" || fail 2 "$artifact: no card, or no receipt beside it; make export again"
    cp docker/serve.md "$work/run.md"
    in_image python - <src/samebench/inventory.py >"$work/inside.json" || fail 3 "$image: does not say what is inside (see above)"
    save "$work/saved.tar" || fail 3 "$image: $RUNTIME could not save it (see above)"
    made=$(SAMEBENCH_QUIET=1 RUNTIME=$RUNTIME PLATFORM='' sh src/samebench/runtime.sh python -m samebench.bundle "$work" "$bundle" "$name") || exit $?
}

# The image as it lies in the store: what was asked above is what is shipped. Podman's own save would write gzip.
save() {
    case $RUNTIME in
    docker) docker image save --output "$1" "$image" ;;
    podman) podman push --quiet --compression-format zstd "$image" "oci-archive:$1" ;;
    esac
}

# Only what a partner would accept gets its name.
publish() {
    LOAD=0 sh src/samebench/verify.sh "$public" "$work" >&2 || fail 1 "$work: does not pass its own check (see above); there is no bundle"
    chmod 755 "$work"
    chmod 644 "$work"/*
    rm -rf "dist/${made:?}"
    mv "$work" "dist/$made"
    printf 'dist/%s: %s, %s MB, signed; see docs/shipping.md\n' "$made" "$image" "$(du -sk "dist/$made" | awk '{ print int($1 * 1024 / 1000000) }')"
}
