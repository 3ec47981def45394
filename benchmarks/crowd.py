"""What a crowd of people makes of the tool: whether their votes become right labels, and how few it takes.

votes_ratio                        votes of the rule of retirement, as a part of five an item
recall_rule, precision_rule        of positives, by that rule
recall_fixed_5, precision_fixed_5  the same by five votes an item: of three models that which is best at it
spam_loss                          the most that recall or precision of positives falls where every fifth person
                                   does not look: at random, always yes, always no, each by itself
refit_s_1m, refit_cpu_s_1m         a fit to a million votes, of 1,000 people on 200,000 items; its processor time
vote_us, vote_us_p99               taking in one vote

Each is given at 10 % and at 2 % positives (_10, _2) and, without that, where the rule does worst.
`benchmarks.votes` says how the people vote, and tries other crowds and rules.
"""

import argparse
import json

from benchmarks import votes


def main() -> None:
    """Run the benchmark and print what it found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="the last line printed is one JSON object")
    votes.add_options(parser)
    args = parser.parse_args()
    out = votes.speed() | votes.measure(args, votes.rule_of(args))
    print(json.dumps(out) if args.json else "\n".join(f"{k:<34} {v:.4f}" for k, v in out.items()))


if __name__ == "__main__":
    main()
