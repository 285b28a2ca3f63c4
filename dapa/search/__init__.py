"""Find a set of units that carries refusal, and from which no single one can go.

`algorithms` ask, `engine` answers; `job` is one search of a pair, from settings to report.
"""
