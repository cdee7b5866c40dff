# Colours a log for a pane: LC_ALL=C sed -E -f pane.sed (GNU sed; in the C locale no byte is invalid).

# Of the escape sequences that foreign programs write, colours stay; titles, clipboard, cursor and screen go.
/\x1b/ {
  s/\x01//g
  s/\x1b(\[[0-9;:]*m)/\x01\1/g
  s/\x1b[]PX^_][^\x07\x1b]*(\x07|\x1b\\)?//g
  s|\x1b\[[0-?]*[ -/]*[@-~]?||g
  s|\x1b[ -/]*[0-~]?||g
  s/\x01/\x1b/g
  s/$/\x1b[0m/
}
s/[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f]//g

# C1 controls, and what turns the direction of writing, as UTF-8: see launcher/borders/screen.py.
/\xc2|\xd8\x9c|\xe2[\x80\x81]/ {
  :again
  s/\xc2[\x80-\x9f]|\xd8\x9c|\xe2\x80[\x8e\x8f\xaa-\xae]|\xe2\x81[\xa6-\xa9]//g
  t again
}

# `t` below asks whether a level was found, not whether something was stripped above.
t cleaned
:cleaned

# `[trainer0]:2026-11-23 03:10:02.123 | INFO    | message`: the time dim, and of the levels those that are news.
# A step's numbers stand closer, behind dim names, so that its line fits into 100 columns.
/^(\[[^] ]*\]:)?[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9:.,]{8,15} \| / {
  s/^(\[[^] ]*\]:)?[0-9-]{10}[ T]([0-9:]{8})[0-9:.,]* \| (.*)/\1\x1b[2m\2\x1b[0m | \3/
  t level
  :level
  s/ \| (INFO|SUCCESS) *\| / /; t message
  s/ \| (DEBUG|TRACE) *\| (.*)/ \x1b[2m\2\x1b[0m/; t message
  s/ \| WARNING *\| / \x1b[33mWARNING\x1b[0m /; t message
  s/ \| (ERROR|CRITICAL) *\| / \x1b[1;31m\1\x1b[0m /; t message
  :message
  /\x1b\[0m step [0-9]/ {
    s/ \| ([a-z_/]+) / \x1b[2m\1\x1b[0m /g
    s/ \| /  /g
  }
}

s/^((\[[^] ]*\]:)?)((Traceback \(most recent|[A-Za-z_.]*(Error|Exception)(:|$)).*)/\1\x1b[31m\3\x1b[0m/

# Whose line it is, when torchrun has put several ranks into one file.
s/^\[[^] ]*[^] 0-9,-]([0-9]+([,-][0-9]+)*)\]:/\x1b[2mr\1\x1b[0m /
