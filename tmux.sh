#!/usr/bin/env bash
# The panes of a run without Python: a shell to launch from, and the logs.
# launcher/view/tmux/layout.py describes the same panes; tests/test_tmux_sh.py compares the two.
set -Eeuo pipefail
trap 'exit 2' ERR

readonly COMPONENTS=(trainer orchestrator inference)
SELF=$(readlink -f -- "${BASH_SOURCE[0]}")
readonly SELF
readonly COLOURS=${SELF%/*}/launcher/view/tmux/pane.sed
readonly PERCENT=38   # of the window's height, for each of trainer and orchestrator; inference has the rest
readonly SCROLLBACK=50000
PREFIX='#{?#{==:#{prefix},None},#{prefix2},#{prefix}}'
BORDER=" #{q/h:pane_title} #{?pane_at_top,#[align=right] $PREFIX d leaves · $PREFIX [ scrolls · $PREFIX n next ,}"
readonly PREFIX BORDER

usage() {
  cat <<'EOF'
usage: tmux.sh [-s SESSION] [-o OUTPUT_DIR]

Opens a tmux session with a window `launcher`, a shell to launch from, and a
window `logs` with a pane for each of trainer, orchestrator and inference. The
panes follow OUTPUT_DIR/logs/latest/<component>.log. They wait until it exists,
and follow the new log after a resume. A second call attaches to the existing
session.

  -s SESSION     the session's name (default: launch)
  -o OUTPUT_DIR  the run's directory, as in launch --output-dir; it need not exist
                 yet (default: outputs/latest, the newest run)
  -h             this text
EOF
}

fail() {
  printf 'tmux.sh: %s\n' "$1" >&2
  exit 2
}

main() {
  local session=launch output_dir=outputs/latest option
  while getopts ':s:o:h' option; do
    case $option in
      s) session=$OPTARG ;;
      o) output_dir=$OPTARG ;;
      h) usage; exit 0 ;;
      :) fail "-$OPTARG needs a value; see tmux.sh -h" ;;
      *) fail "there is no option -$OPTARG; see tmux.sh -h" ;;
    esac
  done
  shift $((OPTIND - 1))
  [[ $# -eq 0 ]] || fail "unexpected argument '$1'; see tmux.sh -h"
  [[ $session =~ ^[A-Za-z0-9][A-Za-z0-9_-]*$ ]] ||
    fail "-s '$session': a session's name has letters, digits, '-' and '_', and starts with a letter or digit"
  [[ -n $output_dir ]] || fail "-o is empty; it takes a run's directory"
  [[ $output_dir == /* ]] || output_dir=$PWD/$output_dir
  check_tmux
  open_session "$session" "$output_dir"
  show "$session"
}

check_tmux() {
  command -v tmux >/dev/null || fail 'tmux is not installed: apt install tmux, dnf install tmux or brew install tmux'
  [[ $(tmux -V) =~ ([0-9]+)\.[0-9]+ && ${BASH_REMATCH[1]} -lt 3 ]] || return 0
  fail "$(tmux -V) is too old: it must be 3.0 or newer"
}

# Keeps an existing session, and adds what is missing.
open_session() {
  local session=$1 logs=$2/logs mark windows
  mark=$(printf %s "$logs" | cksum)
  if ! tmux has-session -t "=$session" 2>/dev/null; then
    # One command: with the user's `destroy-unattached on` the session would end before a second one.
    tmux new-session -d -s "$session" -n launcher -x 200 -y 50 \; \
      set-option -t "=$session:" destroy-unattached off \; \
      set-option -t "=$session:" mouse on \; \
      set-option -t "=$session:" history-limit "$SCROLLBACK" \; \
      set-option -t "=$session:" @launch_logs "$mark"
  fi
  [[ $(tmux show-options -qv -t "=$session:" @launch_logs) == "$mark" ]] ||
    fail "the session '$session' already shows another directory than $2; choose another name with -s"
  windows=$(tmux list-windows -t "=$session:" -F '#W')
  [[ $'\n'$windows$'\n' == *$'\n'logs$'\n'* ]] || open_logs "$session" "$logs"
}

open_logs() {
  local session=$1 logs=$2 window='' pane component resize='exec >/dev/null 2>&1'
  for component in "${COMPONENTS[@]}"; do
    # Several words: tmux runs them without a shell.
    local command=(-- "$BASH" "$SELF" --follow "$logs/latest" "$component")
    if [[ -z $window ]]; then
      window=$(tmux new-window -d -P -F '#{window_id}' -t "=$session:" -n logs "${command[@]}")
      pane=$(tmux display-message -p -t "$window" '#{pane_id}')
    else
      pane=$(tmux split-window -d -P -F '#{pane_id}' -t "$pane" "${command[@]}")
    fi
    tmux select-pane -t "$pane" -T "$component" \; select-pane -t "$pane" -d \; select-layout -t "$window" even-vertical
    [[ $component == "${COMPONENTS[-1]}" ]] || resize+="; tmux resize-pane -t $pane -y $PERCENT%"
  done
  tmux set-option -w -t "$window" pane-border-status top \; \
    set-option -w -t "$window" pane-border-format "$BORDER" \; \
    set-hook -w -t "$window" window-resized "run-shell -b '$resize'" \; \
    run-shell -b "$resize"
}

show() {
  if [[ -n ${TMUX:-} ]]; then
    tmux switch-client -t "=$1:"
  elif [[ -t 0 && -t 1 ]]; then
    exec tmux attach-session -t "=$1:"
  else
    printf 'the panes are open; in a terminal: tmux attach -t %s\n' "$1"
  fi
}

# Runs in a pane: follows COMPONENT's log below the link LATEST, also when the link changes. Somebody else may have made
# the links, so a file outside the run's logs is not shown.
follow() {
  local latest=$1 component=$2 shown='' tail='' logs=${1%/latest}
  trap '' INT
  while sleep 0.2; do
    [[ -e $latest/$component.log && ! $latest -ef $shown ]] || continue
    [[ -z $tail ]] || kill "$tail" || true
    tail=''
    shown=$(readlink -f -- "$latest") || continue
    if [[ -L $logs || $(readlink -f -- "$shown/$component.log") != "$(readlink -f -- "$logs")"/* ]]; then
      printf '%s is not shown: leads outside %s\n' "$latest/$component.log" "$logs" | colour
      continue
    fi
    nice tail -n 10000 -s 0.2 -F -- "$shown/$component.log" 2>/dev/null > >(colour) &
    tail=$!
  done
}

colour() {
  if [[ -r $COLOURS ]]; then
    LC_ALL=C exec nice sed -E -f "$COLOURS"
  else
    exec cat
  fi
}

if [[ ${1:-} == --follow ]]; then
  follow "$2" "$3"
else
  main "$@"
fi
