"""AUC on MovieLens-1M as PIN prints it (Tables 2 to 4).

Its other datasets, Amazon Books (an own cut) and Alipay (private), are not at
hand, and its Fig. 4 comes without numbers.
"""

DATASET = 'ml-1m'

# {model: {system: AUC of groups 1 to 5}}. Table 4; for DIN Table 2 as well,
# whose "Ours" is +GA+PN.
BY_GROUP = {
  'din': {
    'base': (0.8262, 0.9026, 0.9072, 0.9059, 0.9105),
    'agr_rand': (0.8246, 0.8828, 0.8950, 0.8899, 0.8813),
    'grad_transfer': (0.8443, 0.9040, 0.9133, 0.9110, 0.9094),
    'pcgrad': (0.8375, 0.8964, 0.9097, 0.9033, 0.9021),
    'ga': (0.8384, 0.8977, 0.9023, 0.9017, 0.8973),
    'ga_pn': (0.8434, 0.9131, 0.9247, 0.9227, 0.9251),
  },
  'gru4rec': {
    'base': (0.8587, 0.9264, 0.9354, 0.9379, 0.9400),
    'ga': (0.8595, 0.9210, 0.9338, 0.9393, 0.9371),
    'ga_pn': (0.8633, 0.9250, 0.9385, 0.9424, 0.9425),
  },
  'sasrec': {
    'base': (0.8539, 0.9242, 0.9337, 0.9360, 0.9387),
    'ga': (0.8591, 0.9221, 0.9345, 0.9358, 0.9355),
    'ga_pn': (0.8638, 0.9258, 0.9393, 0.9399, 0.9408),
  },
}

# {system: mean of the users' AUC}, DIN. Table 3.
BY_USER = {
  'base': 0.8909,
  'agr_rand': 0.8728,
  'grad_transfer': 0.8958,
  'pcgrad': 0.8886,
  'ga_pn': 0.9052,
}
