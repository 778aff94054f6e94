"""All scenarios, in the order of the documentation's tables."""

from adapters.sqlalchemy.tests.peers import asynchronous, failures, statements, transactions, writes

GROUPS = [module.GROUP for module in (transactions, writes, statements, failures, asynchronous)]
SCENARIOS = [scenario for group in GROUPS for scenario in group.scenarios]
