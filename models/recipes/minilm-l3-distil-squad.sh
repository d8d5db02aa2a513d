#!/bin/sh
# The small default model, from its teacher to its package: distil, export, quantise, evaluate both
# precisions, package. Interrupted training goes on where it was when this is run again.
#
#   models/recipes/minilm-l3-distil-squad.sh TEACHER DATA DEV VERSION [WORK]
#
#   TEACHER  the fine-tuned checkpoint that minilm-l6-squad.sh leaves in its WORK/run/final
#   DATA     folder of SQuAD-format training files, named as in minilm-l3-distil-squad.json
#   DEV      SQuAD v1.1 file that is measured on and never trained on
#   VERSION  of the package, MAJOR.MINOR.PATCH
#   WORK     folder for everything in between (default: build/minilm-l3-distil-squad)
set -eu
[ $# -ge 4 ] || { sed -n '2,12s/^# \{0,1\}//p' "$0" >&2; exit 2; }
teacher=$1 data=$2 dev=$3 version=$4 work=${5:-build/minilm-l3-distil-squad}
here=$(dirname "$0")
export LC_ALL=C # the order of the files is part of the recipe
mkdir -p "$work"

# Amazon reviews are left out: another kind of text, another kind of answer.
set --
for file in "$data"/*.json; do
    case $file in *amazon_reviews*) continue ;; esac
    set -- "$@" --data "$file"
done
set -- "$@" --language-epochs 0 --max-seq-len 256
answers_first="--alpha 0.4 --beta 0.1 --gamma 0.5"
edgeqa models distil "$teacher" "$@" $answers_first --output "$work/first" --epochs 0.72 --seed 42
# Each run lets its learning rate fall to 0: the next one warms the student up again.
edgeqa models distil "$teacher" "$@" $answers_first --output "$work/second" --epochs 1.0 --seed 43 \
    --start "$work/first/final"
# A student that reads: from here on hidden states teach it more than answers do (docs/models.md).
edgeqa models distil "$teacher" "$@" --alpha 0.03 --beta 0.01 --gamma 0.96 \
    --output "$work/run" --epochs 2.25 --seed 44 --start "$work/second/final"

rm -rf "$work/fp32" "$work/int8"
edgeqa models export "$work/run/final" --output "$work/fp32" --data "$dev"
edgeqa models quantise "$work/fp32" --output "$work/int8"
edgeqa models evaluate "$work/fp32" --data "$dev" --report "$work/fp32.json"
edgeqa models evaluate "$work/int8" --data "$dev" --report "$work/int8.json"
edgeqa models package "$work/int8" --name minilm-l3-distil-squad --version "$version" \
    --report "$work/int8.json" --fp32-report "$work/fp32.json" \
    --training "$here/minilm-l3-distil-squad.json" --output models/packages
