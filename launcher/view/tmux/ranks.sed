# `launch logs` of several ranks as pane.sed knows lines: `trainer 3 | text` and `trainer | time | INFO | [ranks 0-7] text`
# begin with [trainer3]: and [trainer0-7]:, as with torchrun.
s/^([^ |]+) +\| ([0-9-]{10} [0-9:.]{12} (\| [A-Z]+ *\| )?)?\[ranks ([0-9,-]+)\] /[\1\4]:\2/; t labelled
s/^([^ |]+) ([0-9]+) *\| /[\1\2]:/; t labelled
s/^[^ |]+ +\| //
:labelled
