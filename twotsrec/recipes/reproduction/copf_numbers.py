"""HR@10 and NDCG@10 as COPF prints them (Tables 2 to 5).

They rank all items the user has not bought in training, and are of the epoch
with the best HR@10 on the test items (authors' code). Figs. 3 to 5 come without
numbers.
"""

# Ours -> its column. Of the second and third no public copy has the views: they
# are other data than those of the paper.
DATASETS = {
  'taobao-copf': 'Taobao',
  'beibei-copf-noview': 'Beibei',
  'tmall-copf-noview': 'Tmall',
}
WITHOUT_VIEWS = ('beibei-copf-noview', 'tmall-copf-noview')

_COLUMNS = ('beibei-copf-noview', 'taobao-copf', 'tmall-copf-noview')
_COPF = (0.1694, 0.0903, 0.1552, 0.0838, 0.1755, 0.0967)

# {table: {system: (HR, NDCG) on Beibei, on Taobao, on Tmall}}
_PRINTED = {
  '2': {
    'lightgcn': (0.0391, 0.0209, 0.0411, 0.0240, 0.0393, 0.0209),
    'copf': _COPF,
  },
  '3': {
    'wo_cogcn': (0.0601, 0.0294, 0.0801, 0.0417, 0.0783, 0.0437),
    'copf_p': (0.1282, 0.0661, 0.1041, 0.0540, 0.1201, 0.0639),
    'copf_a': (0.1649, 0.0885, 0.1389, 0.0740, 0.1592, 0.0883),
    'copf_d': (0.0333, 0.0163, 0.1052, 0.0595, 0.1064, 0.0606),
    'copf_f': (0.1285, 0.0665, 0.0996, 0.0515, 0.1167, 0.0620),
    'copf_c': (0.1514, 0.0861, 0.0913, 0.0511, 0.0785, 0.0446),
    'copf_b': (0.1622, 0.0870, 0.1531, 0.0817, 0.1714, 0.0957),
    'copf_h': (0.1199, 0.0649, 0.0841, 0.0478, 0.0809, 0.0475),
    'wo_dfme': (0.0821, 0.0400, 0.1120, 0.0607, 0.1146, 0.0643),
    'wo_con': (0.1154, 0.0581, 0.1476, 0.0788, 0.1425, 0.0791),
    'wo_for': (0.1649, 0.0886, 0.0471, 0.0247, 0.1391, 0.0769),
    'wo_back': (0.1676, 0.0886, 0.1446, 0.0781, 0.1601, 0.0888),
    'all_sg': (0.1656, 0.0888, 0.1508, 0.0809, 0.1553, 0.0866),
    'wo_fit': (0.1182, 0.0614, 0.0827, 0.0438, 0.1346, 0.0738),
    'copf': _COPF,
  },
  '4': {
    'no_aggregation': (0.1103, 0.0560, 0.1143, 0.0634, 0.1165, 0.0655),
    'summation': (0.1163, 0.0605, 0.0789, 0.0410, 0.1323, 0.0732),
    'linear': (0.0724, 0.0342, 0.1317, 0.0712, 0.1408, 0.0771),
    'attention': (0.1228, 0.0637, 0.1080, 0.0589, 0.1337, 0.0749),
    'projection': (0.1299, 0.0672, 0.1153, 0.0611, 0.1442, 0.0791),
    'copf': _COPF,
  },
  '5': {
    'shared_bottom': (0.0328, 0.0159, 0.0594, 0.0305, 0.0740, 0.0403),
    'mmoe': (0.0557, 0.0280, 0.0610, 0.0317, 0.0838, 0.0440),
    'ple': (0.0546, 0.0269, 0.0649, 0.0338, 0.0801, 0.0422),
    'bilinear': (0.0629, 0.0306, 0.0986, 0.0522, 0.1559, 0.0858),
    'mesi': (0.0885, 0.0439, 0.1039, 0.0540, 0.1487, 0.0811),
    'pme': (0.1137, 0.0572, 0.1525, 0.0800, 0.1572, 0.0862),
    'copf': _COPF,
  },
}

# What the paper reads off its figures (sec. 5.5).
FIGURES = {
  'fig3': (
    'the best number varies by dataset, and more than three layers are'
    ' significantly worse (sec. 5.5.1). Its axis is read as the layers of every'
    " behavior's fusion"
  ),
  'fig4': (
    'a temperature that is too large is worse, and on Taobao one as small as'
    ' 0.1 is worse too (sec. 5.5.2)'
  ),
  'fig5': (
    'with beta at 0.001 the highest is alpha = 0.1, and results fall as alpha'
    ' rises, on Taobao most (sec. 5.5.3)'
  ),
}


def printed(
  table: str, system: str, dataset: str
) -> tuple[float, float] | None:
  """HR@10 and NDCG@10 of a row; None where the paper has none."""
  row = _PRINTED.get(table, {}).get(system)
  if row is None or dataset not in _COLUMNS:
    return None
  column = 2 * _COLUMNS.index(dataset)
  return row[column], row[column + 1]


def has(table: str, system: str) -> bool:
  """Whether the paper has a row."""
  return system in _PRINTED.get(table, {})
