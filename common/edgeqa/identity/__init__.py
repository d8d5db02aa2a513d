"""Who a machine is at the broker: names in certificates, and what is checked about them.

Needs `cryptography`, which the extras [agent] and [cloud] install.
"""
