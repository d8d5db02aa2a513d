#!/bin/sh
# A package made again from itself, with the graph that today's export and quantise make: for when
# the drafts that it was made of are gone. Its weights are those of the package, rounded as they
# are; "fp32" in the new score cards is a graph of them, not what was trained.
#
#   models/recipes/remake.sh PACKAGE DEV VERSION [WORK]
#
#   PACKAGE  folder of the package
#   DEV      SQuAD v1.1 file that is measured on
#   VERSION  of the new package, MAJOR.MINOR.PATCH
#   WORK     folder for everything in between (default: build/remake); what is there is not made again
set -eu
[ $# -ge 3 ] || { sed -n '2,12s/^# \{0,1\}//p' "$0" >&2; exit 2; }
package=$1 dev=$2 version=$3 work=${4:-build/remake}
mkdir -p "$work"

[ -d "$work/checkpoint" ] || edgeqa models recover "$package" --output "$work/checkpoint"
[ -d "$work/fp32" ] || edgeqa models export "$work/checkpoint" --output "$work/fp32"
[ -d "$work/int8" ] || edgeqa models quantise "$work/fp32" --output "$work/int8"
for precision in fp32 int8; do
    [ -f "$work/$precision.json" ] ||
        edgeqa models evaluate "$work/$precision" --data "$dev" --report "$work/$precision.json"
done

name=$(python - "$package" "$work" <<'PY'
import json, pathlib, sys
package, work = map(pathlib.Path, sys.argv[1:])
manifest = json.loads((package / "manifest.json").read_text())
training = manifest["training"]
training["recipe"]["remade_from"] = manifest["version"]
(work / "training.json").write_text(json.dumps(training))
print(manifest["name"])
PY
)
edgeqa models package "$work/int8" --name "$name" --version "$version" \
    --report "$work/int8.json" --fp32-report "$work/fp32.json" \
    --training "$work/training.json" --output models/packages
