#!/usr/bin/env bash
# Trains, evaluates, exports and tries a Libra Faster R-CNN, from nothing.
#
#   scripts/quickstart.sh                    embedded shapes, 6 to 28 minutes on two cores
#   scripts/quickstart.sh --data DIR         a folder in COCO's layout, 800 steps
#   scripts/quickstart.sh --out DIR          where everything goes (default runs/...)
#   scripts/quickstart.sh --config NAME      another of `libra config list`
#
# DIR/annotations/instances_{train,val}.json, DIR/images/{train,val}/. Finished steps
# are not done again; delete the output folder to start over. VENV=DIR uses another
# virtual environment than .venv.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/install.sh"

data="" out="" config=""
while [ $# -gt 0 ]; do
  case "$1" in
    --data | --out | --config)
      [ $# -ge 2 ] || { echo "error: $1 needs a value" >&2; exit 2; }
      printf -v "${1#--}" '%s' "$2"
      shift 2
      ;;
    -h | --help)
      sed -n '2,/^set/{/^#/s/^# \{0,1\}//p;}' "${BASH_SOURCE[0]}"
      exit 0
      ;;
    *)
      echo "error: unknown option $1 (see --help)" >&2
      exit 2
      ;;
  esac
done
if [ -n "$data" ]; then
  [ -d "$data" ] || { echo "error: --data $data is no folder" >&2; exit 2; }
  data="$(cd "$data" && pwd)"
  config="${config:-bccd/libra_fasterrcnn}"
  out="${out:-$ROOT/runs/$(basename "$data")-${config//\//_}}"
else
  config="${config:-quickstart/libra_fasterrcnn}"
  out="${out:-$ROOT/runs/${config//\//_}}"
fi
mkdir -p "$out"
out="$(cd "$out" && pwd)"

source_of_run="${data:-embedded shapes}, $config"
if [ -f "$out/source" ] && [ "$(cat "$out/source")" != "$source_of_run" ]; then
  echo "error: $out is of another run ($(cat "$out/source")); give another --out" >&2
  exit 2
fi
echo "$source_of_run" >"$out/source"

install_package fast
libra() { "$VENV/bin/libra" "$@"; }
start=$SECONDS

if [ -z "$data" ]; then
  data="$out/shapes"
  if [ ! -f "$data/annotations/instances_val.json" ]; then
    echo "== drawing the embedded data set"
    libra data synthesize "$data"
  fi
fi
if [ ! -f "$out/tfrecords/dataset.json" ]; then
  echo "== converting $data"
  rm -rf "$out/tfrecords.part"
  libra data convert "$data" --out "$out/tfrecords.part"
  mv "$out/tfrecords.part" "$out/tfrecords"
fi
if [ -f "$out/model/finished" ]; then
  echo "== $out/model is trained already"
else
  echo "== training ($config)"
  libra train --config "$config" --data "$out/tfrecords" --out "$out/model"
  touch "$out/model/finished"
fi
best="$out/model/best_ckpt/checkpoint"
if [ ! "$out/eval/metrics.json" -nt "$best" ]; then
  echo "== evaluating the best checkpoint"
  libra eval --model "$out/model" --out "$out/eval"
fi
if [ ! "$out/export/saved_model/assets.extra/libra_tf.json" -nt "$best" ]; then
  echo "== exporting"
  libra export --model "$out/model" --out "$out/export"
fi
echo "== predicting with the SavedModel"
"$PYTHON" - "$data" "$out/sample" <<'PY'
import json, pathlib, shutil, sys
from libra_tf.data.images import find_image
from libra_tf.data.layout import layout_sources
data, sample = map(pathlib.Path, sys.argv[1:])
shutil.rmtree(sample, ignore_errors=True)
sample.mkdir()
(_, dataset, folder), = layout_sources(data, "val")
for image in dataset.images[:8]:
    shutil.copy(find_image(folder, image.file_name), sample)
PY
libra predict "$out/sample" --model "$out/export" --out "$out/predictions"
pictures=("$out"/predictions/*.png)
"$PYTHON" "$ROOT/scripts/montage.py" "$out/predictions.jpg" "${pictures[@]:0:3}"

"$PYTHON" - "$out" "$((SECONDS - start))" <<'PY'
import json, sys
out, seconds = sys.argv[1], int(sys.argv[2])
m = json.load(open(f"{out}/eval/metrics.json"))["metrics"]
figures = "  ".join(f"{k} {m[k]:.3f}" for k in ("AP", "AP50", "AP75", "mask_AP") if k in m)
print(f"""
== done in {seconds // 60}:{seconds % 60:02} after the install
   {figures}  on {int(m["num_images_evaluated"])} held-out images
   SavedModel   {out}/export/saved_model
   pictures     {out}/predictions, three of them in {out}/predictions.jpg
   detections   {out}/predictions/detections.json
   TensorBoard  {sys.prefix}/bin/tensorboard --logdir {out}/model
   next         scripts/quickstart.sh --data YOUR_FOLDER   (COCO layout, see docs/data.md)""")
PY
