# What the roads share; sourced by them. They set `sets` and `out`.

configs=pipeline/configs
say() { printf '\n\033[1m%s\033[0m\n' "$*" >&2; }
run() { # STAGE CONFIG ARGUMENTS…: prints where the result lies, and finds it there the next time
  local stage=$1 name=$2 given=()
  shift 2
  for set in "${sets[@]}"; do
    case $set in
      "$stage/$name".*) given+=(--set "${set#"$stage/$name".}") ;;
      "$stage".*) given+=(--set "${set#"$stage".}") ;;
    esac
  done
  python -m pipeline "$stage" "$configs/$stage/$name.yaml" "${given[@]}" "$@"
}
keep() { # NAME BUNDLE: the name under which the release finds it
  mkdir -p "$out/family"
  ln -sfn "$(realpath "$2")" "$out/family/$1"
}
