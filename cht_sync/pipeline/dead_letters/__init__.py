"""Files of dead letters: their lines, who may change them when, and delivering a letter once more.

`dead_letter.DeadLetterFile` appends. Whoever changes a file holds its `turn`, so that an engine and the
operator's commands, which are other processes, lose nothing to one another. Readers need no turn: a file is
appended to or replaced as a whole.
"""
