"""Theorem 2.1 of 2TS: when a user's own vector is the better start.

`bounds` holds the theorem with its constants, and what the paper misprints;
`power_law` the activity of users; `estimates` and `user_vectors` get Q, V and
alpha from data; `simulation` runs the setting of the theorem in `worlds` where
all of it is known.
"""

from twotsrec.theory.bounds import active_error
from twotsrec.theory.bounds import beta
from twotsrec.theory.bounds import bound
from twotsrec.theory.bounds import gamma_act
from twotsrec.theory.bounds import gamma_in
from twotsrec.theory.bounds import gamma_single
from twotsrec.theory.bounds import gap
from twotsrec.theory.bounds import gradient_bound
from twotsrec.theory.bounds import model_threshold
from twotsrec.theory.bounds import prop_a1_Q
from twotsrec.theory.bounds import t_opt
from twotsrec.theory.bounds import two_rate_bound
from twotsrec.theory.estimates import Estimates
from twotsrec.theory.estimates import Profile
from twotsrec.theory.estimates import estimate
from twotsrec.theory.estimates import estimate_q
from twotsrec.theory.estimates import estimate_variance
from twotsrec.theory.estimates import q_profile
from twotsrec.theory.estimates import user_q
from twotsrec.theory.power_law import PowerLaw
from twotsrec.theory.power_law import fit_alpha
from twotsrec.theory.power_law import law_start
from twotsrec.theory.power_law import pmf
from twotsrec.theory.power_law import survival
from twotsrec.theory.power_law import zeta
from twotsrec.theory.simulation import Simulation
from twotsrec.theory.simulation import simulate
from twotsrec.theory.user_vectors import Halves
from twotsrec.theory.user_vectors import ridge_halves
from twotsrec.theory.worlds import Config

__all__ = (
  'Config',
  'Estimates',
  'Halves',
  'PowerLaw',
  'Profile',
  'Simulation',
  'active_error',
  'beta',
  'bound',
  'estimate',
  'estimate_q',
  'estimate_variance',
  'fit_alpha',
  'gamma_act',
  'gamma_in',
  'gamma_single',
  'gap',
  'gradient_bound',
  'law_start',
  'model_threshold',
  'pmf',
  'prop_a1_Q',
  'q_profile',
  'ridge_halves',
  'simulate',
  'survival',
  't_opt',
  'two_rate_bound',
  'user_q',
  'zeta',
)
