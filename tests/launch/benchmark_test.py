from tests.launch import scripts


def test_wrong_input_is_one_line(capsys, tmp_path):
  out = f'--out={tmp_path / "out.json"}'
  for flags, message in (
    (['--suite=aggregators'], '--out is missing'),
    ([out, '--suite=aggregator'], 'train|aggregators'),
    ([out, '--suite=aggregators', '--only=pcgard'], 'known: joint, backdoor'),
    ([out, '--suite=aggregators', '--steps=0'], '--steps'),
    ([out, '--suite=aggregators', '--repeats=0'], '--repeats'),
    ([out, '--only=pcgrad'], '--only changes nothing'),
    ([out, '--steps=9'], '--steps changes nothing'),
    ([out, '--clock=sun'], 'wall|processor'),
  ):
    ended = scripts.run(capsys, 'benchmark', *flags)
    assert ended.code == 2 and ended.out == '', flags
    assert message in ended.err and ended.err.startswith('error: ')
    assert len(ended.err.splitlines()) == 1
  assert list(tmp_path.iterdir()) == []
