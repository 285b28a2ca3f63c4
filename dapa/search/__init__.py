"""Find the smallest set of units that carries refusal.

Algorithms are pure coroutines over masks, one a file; `driver` answers their questions.
"""
