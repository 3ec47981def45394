"""What a crowd makes of the tool: whether votes become right labels, how few it takes, 200 people at once.

votes_ratio            votes of the rule of retirement, as a part of five an item
recall_rule, precision_rule
                       of positives, by that rule
recall_fixed_5, precision_fixed_5
                       the same by five votes an item: of three models that which is best at it
spam_loss              the most that recall or precision of positives falls where every fifth person does not
                       look: at random, always yes, always no, each by itself
refit_s_1m, refit_cpu_s_1m
                       a fit to a million votes, of 1,000 people on 200,000 items; its processor time
vote_us, vote_us_p99   taking in one vote

Each is given at 10 % and at 2 % positives (_10, _2) and, without that, where the rule does worst.
`benchmarks.votes` says how the people vote, and tries other crowds and rules. With a server, as
`benchmarks.volunteers` says (not with --votes-alone): errors_5xx, doubled, lost, starved, p99_ms,
breaks_at_per_s and more.
"""

import argparse

from benchmarks import volunteers, votes
from benchmarks.pool import arguments, open_pool, show


def main() -> None:
    """Run the benchmark and print what it found."""
    parser = arguments(__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--votes-alone", action="store_true", help="no server")
    parser.add_argument("--seconds", type=float, default=30.0, help="of the load at 200 answers a second")
    votes.add_options(parser)
    args = parser.parse_args()
    out: dict[str, object] = {}
    if not args.votes_alone:
        out |= volunteers.measure(open_pool(args), args.seconds)
    out |= votes.speed() | votes.measure(args, votes.rule_of(args))
    show(out, as_json=args.json)


if __name__ == "__main__":
    main()
