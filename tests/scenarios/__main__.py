"""Regenerate the traces: ``python -m tests.scenarios --rewrite``; without it, say which differ.

Only commit what you get if you understand the difference.
"""

import sys

from tests.scenarios.transcript import play, transcripts


def main(arguments: list[str]) -> int:
    if arguments not in ([], ["--rewrite"]):
        print("usage: python -m tests.scenarios [--rewrite]", file=sys.stderr)
        return 2
    differing = 0
    for path in transcripts():
        before = path.read_text(encoding="utf-8")
        after = play(before)
        if after != before:
            differing += 1
            print(path.name)
            if arguments:
                path.write_text(after, encoding="utf-8")
    print(f"{differing} of {len(transcripts())} " + ("rewritten" if arguments else "differ"))
    return int(differing > 0 and not arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
