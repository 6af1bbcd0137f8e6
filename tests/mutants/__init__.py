"""Small bugs planted into copies of the core: proof that the simulator would notice such bugs.

``python -m tests.mutants`` plants each and plays seeds until a checker objects.
"""
