"""What a config may be: names, types, choices, ranges, and what must go together.

The one home of these rules. It imports no JAX, so that a command with a mistake ends in a moment,
before a folder is claimed or a model is loaded; tests hold its choices to the tables in the code
that they stand for.

- `values`: what each knob may be by itself
- `rules`: what knobs may be together, and what each verb needs
- `judges`, `addresses`: judges, the addresses of servers and the keys that go to them
- `paths`: files and folders that are there, or not
- `devices`: what must fit the devices that there are
- `assign`: `load` and `override` make a config
- `files`: configs on disk, and their comments
- `renamed`: knobs that older versions called otherwise
"""

from r1reward_jax.config.addresses import plain_url as plain_url
from r1reward_jax.config.assign import explicit as explicit
from r1reward_jax.config.assign import load as load
from r1reward_jax.config.assign import override as override
from r1reward_jax.config.assign import override_problems as override_problems
from r1reward_jax.config.assign import renamed as renamed
from r1reward_jax.config.devices import device_problems as device_problems
from r1reward_jax.config.files import items as items
from r1reward_jax.config.files import names as names
from r1reward_jax.config.files import near as near
from r1reward_jax.config.judges import judge_key as judge_key
from r1reward_jax.config.judges import key_name_problems as key_name_problems
from r1reward_jax.config.renamed import RENAMED as RENAMED
from r1reward_jax.config.rules import check as check
from r1reward_jax.config.rules import check_rl as check_rl
from r1reward_jax.config.rules import problems as problems
from r1reward_jax.config.rules import require as require
from r1reward_jax.config.rules import require_model as require_model
from r1reward_jax.config.values import BENCHMARKS as BENCHMARKS
from r1reward_jax.config.values import CHOICES as CHOICES
from r1reward_jax.config.values import DTYPES as DTYPES
from r1reward_jax.config.values import RESPONSE_FORMATS as RESPONSE_FORMATS
from r1reward_jax.config.values import SKILLS as SKILLS
