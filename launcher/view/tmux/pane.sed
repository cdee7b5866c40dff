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

# `[trainer0]:2026-11-23 03:10:02.123 | INFO    | message`: the level in its colour, what stands before it dim.
/^(\[[^] ]*\]:)?[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9:.,]{8,15} \| / {
  s/ \| INFO /\x1b[0m | \x1b[32mINFO\x1b[0m /; t stamp
  s/ \| (DEBUG|TRACE) /\x1b[0m | \x1b[34m\1\x1b[0m /; t stamp
  s/ \| SUCCESS /\x1b[0m | \x1b[1;32mSUCCESS\x1b[0m /; t stamp
  s/ \| WARNING /\x1b[0m | \x1b[33mWARNING\x1b[0m /; t stamp
  s/ \| (ERROR|CRITICAL) /\x1b[0m | \x1b[1;31m\1\x1b[0m /; t stamp
  b
  :stamp
  s/^/\x1b[2m/
  b
}

/^(\[[^] ]*\]:)?(Traceback \(most recent|[A-Za-z_.]*(Error|Exception)(:|$))/ s/.*/\x1b[31m&\x1b[0m/
