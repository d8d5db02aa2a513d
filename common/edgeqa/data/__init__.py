"""Reading data sets: what a question set is made of, wherever it comes from.

Workshop and agent share it, so that both ask the same questions of the same source. Only the
agent's short-lived data process and the workshop read with it: `datasets` and pyarrow are imported
where a source needs them, and nowhere else.
"""
