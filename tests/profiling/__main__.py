"""Write counts.json anew: `python tests/profiling`, after a change that is meant to change what a step costs."""

import guard

guard.write()
print(f"{guard.COUNTS}: look at what `git diff` says of it")
