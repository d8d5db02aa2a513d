"""The reader: from a question and a text to spans of that text.

Shared by the agent, which serves it, and by models, which measures it, so that a score card is
made with the code that answers on the device (docs/adr/0002). Nothing here is imported by the
agent's main process.
"""
