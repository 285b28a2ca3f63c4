"""Find the smallest set of units that carries refusal.

`algorithms` ask, `engine` answers; `job` is one search of a pair, from settings to report.
"""
