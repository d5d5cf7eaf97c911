#!/bin/sh
# Checks a bundle before anything of it is loaded, loads its image, and checks what was loaded. Needs no network.
#
#   sh verify.sh ../samebench.pub         the bundle beside this script; the key must have come by another way
#   sh verify.sh samebench.pub FOLDER     the bundle in FOLDER
#
#   LOAD=0                                only checks
#   RUNTIME=podman                        loads with podman (default: docker, or podman where docker does not answer)
#
# Exit code 0: it is what the key's owner signed. 1: refused, and nothing is loaded. 2: wrong use. 3: a program is missing.
#
# openssl and not ssh-keygen -Y: any openssl or LibreSSL of the last twenty years checks an RSA signature with one file,
# ssh-keygen only since 2019 and with a list of signers.
set -eu
LC_ALL=C
export LC_ALL
unset CDPATH

# One line; a byte that could steer a terminal becomes a question mark.
end() {
    code=$1
    shift
    { printf '%s' "$*" | tr -c ' -~' '?' && echo; } >&2
    exit "$code"
}
refuse() { end 1 "refused: $*; nothing is loaded, ask the sender for it anew"; }

sha256() { if command -v sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi | cut -c 1-64; }

check_use() {
    case ${LOAD:=1} in 0 | 1) ;; *) end 2 "LOAD=$LOAD: give 0 to check only, or leave it out" ;; esac
    case ${RUNTIME:=auto} in auto | docker | podman) ;; *) end 2 "RUNTIME=$RUNTIME: give docker or podman, or leave it out" ;; esac
    [ -n "$key" ] || end 2 "usage: sh verify.sh KEY [FOLDER], with the sender's public key, which did not come in the bundle"
    [ -f "$key" ] || end 2 "$key: no such file; give the sender's public key, such as ../samebench.pub beside the bundle's folder"
    [ -d "$bundle" ] || end 2 "$bundle: no such folder; give the bundle's"
    bundle=$(cd "$bundle" && pwd -P)
    [ "$(cd "$(dirname "$key")" && pwd -P)" != "$bundle" ] || end 2 "$key: lies in the bundle, where it proves nothing; put the one that came by another way beside the folder, and give that: sh verify.sh ../$(basename "$key")"
    for program in openssl tar; do
        command -v $program >/dev/null || end 3 "no $program on this machine; install it"
    done
    command -v sha256sum >/dev/null || command -v shasum >/dev/null || end 3 "no sha256sum and no shasum on this machine; install one"
    ! grep -q PRIVATE "$key" || end 2 "$key: a private key; give the public one, and tell the sender"
    bits=$(openssl rsa -pubin -in "$key" -noout -text 2>/dev/null | sed -n 's/.*(\([0-9]*\) bit.*/\1/p')
    [ -n "$bits" ] || end 2 "$key: not a public RSA key in PEM; give the sender's"
}

# A link could point at what changes after it was checked.
check_file() {
    [ ! -L "$bundle/$1" ] || refuse "$1: a link"
    [ -f "$bundle/$1" ] || refuse "$1: missing, or not a plain file"
    [ -r "$bundle/$1" ] || refuse "$1: you may not read it"
}

check_signature() {
    check_file SHA256SUMS
    check_file SHA256SUMS.sig
    # openssl would read no further than that.
    [ "$(wc -c <"$bundle/SHA256SUMS.sig")" -eq $((bits / 8)) ] || refuse "SHA256SUMS.sig: not the signature of this SHA256SUMS by $key, which has $((bits / 8)) bytes"
    openssl dgst -sha256 -verify "$key" -signature "$bundle/SHA256SUMS.sig" "$bundle/SHA256SUMS" >/dev/null 2>&1 ||
        refuse "SHA256SUMS.sig: not the signature of this SHA256SUMS by $key"
}

lower_case() { printf '%s' "$1" | tr '[:upper:]' '[:lower:]'; }

# Every file that is listed is there and as it was; nothing else is.
check_files() {
    [ "$(tr -d '\n -~' <"$bundle/SHA256SUMS" | wc -c)" -eq 0 ] || refuse "SHA256SUMS: not plain text"
    listed=' SHA256SUMS SHA256SUMS.sig ' lowered=' sha256sums sha256sums.sig '
    while read -r hash file || [ -n "$hash" ]; do
        case $file in '' | .* | -* | *[!A-Za-z0-9._-]*) refuse "SHA256SUMS: a name that no bundle has: $file" ;; esac
        # A file system that knows no capitals would have one file for two names.
        case $lowered in *" $(lower_case "$file") "*) refuse "SHA256SUMS: has twice: $file" ;; esac
        check_file "$file"
        found=$(sha256 <"$bundle/$file")
        [ "$found" = "$hash" ] || refuse "$file: changed, its sha256 is $found, signed was $hash"
        listed="$listed$file " lowered="$lowered$(lower_case "$file") "
    done <"$bundle/SHA256SUMS"
    for file in image.tar receipt.json card.md sbom.cdx.json; do
        case $listed in *" $file "*) ;; *) refuse "$file: not in SHA256SUMS" ;; esac
    done
    for path in "$bundle"/* "$bundle"/.*; do
        [ -e "$path" ] || [ -L "$path" ] || continue # a pattern that matches nothing
        file=${path##*/}
        case $file in
        . | ..) ;;
        *[!A-Za-z0-9._-]*) refuse "$file: not in SHA256SUMS" ;;
        *) case $listed in *" $file "*) ;; *) refuse "$file: not in SHA256SUMS" ;; esac ;;
        esac
    done
}

HASH='\([0-9a-f]\{64\}\)'

# in_file FILE PATTERN: what the pattern's group matches in the lines of FILE that it matches as a whole.
in_file() { sed -n "s|^$2\$|\\1|p" "$bundle/$1"; }

# check_same FILE WHAT FOUND SAID: FOUND, read from FILE, is what the receipt SAID.
check_same() { [ "$3" = "$4" ] || refuse "$1: $2 ${3:-not told}, and receipt.json says ${4:-nothing}"; }

# Receipt, card and list of contents tell of the same run, weights, data and model.
check_parts() {
    run=$(in_file receipt.json '  "run": "\([A-Za-z0-9._-]*\)",')
    weights=$(in_file receipt.json "  \"weights_sha256\": \"$HASH\",\{0,1\}")
    data=$(in_file receipt.json "  \"data_version\": \"$HASH\",\{0,1\}")
    model=$(in_file receipt.json "  \"artifact_sha256\": \"$HASH\",\{0,1\}")
    case ${run:+r}${weights:+w}${data:+d} in rwd) ;; *) refuse "receipt.json: does not say which run, weights and data it is of" ;; esac
    check_same card.md "is of run" "$(in_file card.md '# .*, run \([A-Za-z0-9._-]*\)')" "$run"
    check_same card.md "is of weights" "$(in_file card.md "- weights: $HASH")" "$weights"
    check_same card.md "is of data" "$(in_file card.md "- data: $HASH")" "$data"
    inside=$(awk '/"bom-ref": ".*\/model\.onnx"/ { here = 1 } here && /"content": "/ { print; here = 0 }' "$bundle/sbom.cdx.json" | sed "s|^ *\"content\": \"$HASH\"\$|\\1|")
    # Runs that were exported by older versions do not say their model.
    [ -z "$model" ] || check_same sbom.cdx.json "has the model" "$inside" "$model"
    told=$(in_file card.md "- model: $HASH")
    [ -z "$told" ] || check_same card.md "is of the model" "$told" "${model:-$inside}"
}

# An image archive has these names and no others, all of plain files and folders. busybox shows a hard link as a plain file,
# with an arrow. What tar itself has to say is no such name either.
NAMES='oci-layout|index\.json|manifest\.json|blobs/?|blobs/sha256/?|blobs/sha256/[0-9a-f]{64}'

check_archive() {
    names=$(tar -tf "$bundle/image.tar" 2>&1) || refuse "image.tar: not a whole archive"
    strange=$(printf '%s\n' "$names" | grep -Evx "$NAMES" | head -n 1) || :
    [ -z "$strange" ] || refuse "image.tar: has what no image has: $strange"
    twice=$(printf '%s\n' "$names" | sort | uniq -d | head -n 1)
    [ -z "$twice" ] || refuse "image.tar: has twice: $twice"
    strange=$(tar -tvf "$bundle/image.tar" 2>&1 | grep -E '^[^d-]| -> | link to ' | head -n 1) || :
    [ -z "$strange" ] || refuse "image.tar: has what is no plain file or folder: $strange"
}

# of PATTERN FILE: what the pattern's group matches in a file of the archive.
of() { tar -xOf "$bundle/image.tar" "$2" 2>/dev/null | sed -n "s|.*$1.*|\\1|p" | head -n 1; }

read_archive() {
    name=$(of '"RepoTags":\["\([a-z0-9._/:-]*\)"\]' manifest.json)
    config=$(of '"Config":"blobs/sha256/\([0-9a-f]\{64\}\)"' manifest.json)
    manifest=$(of '"digest":"sha256:\([0-9a-f]\{64\}\)"' index.json)
    case ${name:+n}${config:+c}${manifest:+m} in ncm) ;; *) refuse "image.tar: does not say which image it is" ;; esac
    [ "$(in_file sbom.cdx.json " *\"value\": \"sha256:$HASH\"")" = "$config" ] || refuse "sbom.cdx.json: of another image than image.tar, which has config $config"
    [ "$(in_file sbom.cdx.json "   \"purl\": \"pkg:oci/.*@sha256%3A$HASH?.*")" = "$manifest" ] || refuse "sbom.cdx.json: of another image than image.tar, which has manifest $manifest"
}

choose_engine() {
    for engine in docker podman; do
        case $RUNTIME in auto | "$engine") ;; *) continue ;; esac
        ! command -v $engine >/dev/null || ! $engine info >/dev/null 2>&1 || return 0
    done
    end 3 "the bundle is right, and no engine answers that could load it (RUNTIME=$RUNTIME); start docker or podman"
}

# Docker's classic store and podman call an image by its config's digest, containerd's store by its manifest's, which
# holds the config's: either says that it is this image, to the bit.
loaded() { "$engine" image inspect --format '{{.Id}}' "$name" 2>/dev/null | sed 's/^sha256://'; }

load() {
    before=$(loaded)
    told=$("$engine" load --quiet --input "$bundle/image.tar" 2>&1 >/dev/null) || end 3 "the bundle is right, and $engine could not load it: $told"
    id=$(loaded)
    case $id in
    "$config" | "$manifest") ;;
    *)
        [ "$id" = "$before" ] || "$engine" image rm --force "$name" >/dev/null
        refuse "image.tar: $engine has loaded ${id:-nothing} as $name, signed was $config (config) in $manifest (manifest); it is removed again"
        ;;
    esac
}

key=${1:-}
bundle=${2:-$(dirname "$0")}
# Neither is an option.
case $key in -*) key=./$key ;; esac
case $bundle in -*) bundle=./$bundle ;; esac
check_use
check_signature
check_files
check_parts
check_archive
read_archive
signer=$(openssl pkey -pubin -in "$key" -outform DER | sha256)
if [ "$LOAD" = 0 ]; then
    echo "ok: $name, config sha256:$config, signed by the key sha256:$signer; not loaded"
    exit
fi
choose_engine
load
echo "ok: $name, config sha256:$config, signed by the key sha256:$signer; $engine has loaded it"
echo "    $engine run --rm --network none --read-only --cap-drop ALL $name verify"
