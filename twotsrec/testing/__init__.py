"""What every part promises, as checks for parts of one's own.

    from twotsrec import testing
    import my_file

    def test_my_aggregator():
      testing.check_aggregator(my_file.make(config.AggregatorConfig()))

    def test_my_fusion():
      testing.check_fusion(my_file.make)

Each check fails with an AssertionError that says what does not hold. The
built-in parts pass the same checks.
"""

from twotsrec.testing import fusions
from twotsrec.testing import parts

check_aggregator = parts.check_aggregator
check_model = parts.check_model
check_plugin = parts.check_plugin
check_fusion = fusions.check_fusion
