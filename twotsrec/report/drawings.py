"""Pictures as SVG that stands in a page and takes its colors from there.

matplotlib draws with the colors of a light page; each is then the value of a
CSS variable, which a dark page sets otherwise. Text stays text.
"""

from collections.abc import Callable, Iterator, Mapping
import contextlib
import hashlib
import io
import re
from typing import Any, NamedTuple
import xml.etree.ElementTree as xml

from twotsrec import extras

# By name of the variable: (light, dark). Markers tell series apart,
# too; colors after Okabe and Ito, darker or lighter where the page asks for it.
COLORS = {
  'ink': ('#1d2430', '#e6e9ef'),
  'soft': ('#66707f', '#a0a9b8'),
  'grid': ('#dce1e8', '#363d49'),
  'page': ('#fdfdfe', '#14181f'),
  's0': ('#0067a5', '#5db5f5'),
  's1': ('#c24a00', '#ff9354'),
  's2': ('#00795a', '#35cfa4'),
  's3': ('#a8447f', '#f29bcb'),
  's4': ('#6650c0', '#b8a9ff'),
  's5': ('#8a6400', '#eec04d'),
  's6': ('#7b3f2a', '#d9a38d'),
}
SERIES = tuple(name for name in COLORS if re.fullmatch(r's\d', name))
# Of matplotlib, and the same as a character.
MARKERS = tuple(zip('os^DvPX*', '●■▲◆▼✚✖★'))
WIDTH, HEIGHT = 4.4, 2.9  # inches of a picture, for which a phone has room


class Style(NamedTuple):
  """How a system, or a group, is drawn.

  Attributes:
    color: a key of `COLORS`.
    marker: of matplotlib.
    sign: the same as a character.
  """

  color: str
  marker: str
  sign: str

  @property
  def drawn(self) -> str:
    """The color for matplotlib."""
    return COLORS[self.color][0]


def style(number: int, soft: bool = False) -> Style:
  """The style of a series by its number; `soft` is for what stands beside."""
  color = 'soft' if soft else SERIES[number % len(SERIES)]
  return Style(color, *MARKERS[number % len(MARKERS)])


def light(name: str) -> str:
  """A color for matplotlib."""
  return COLORS[name][0]


def picture(
  draw: Callable[[Any], None], alt: str, height: float = HEIGHT
) -> str:
  """The SVG of one axis.

  Args:
    draw: (axis) -> None.
    alt: what is seen, for those who do not see it.
    height: in inches.
  Raises:
    types.UserError: matplotlib is not installed.
  """
  with _dressed():
    from matplotlib import figure  # pyright: ignore[reportMissingImports]

    # Without pyplot, so no window system is asked for.
    drawn = figure.Figure(figsize=(WIDTH, height), layout='constrained')
    drawn.patch.set_alpha(0.0)
    draw(drawn.subplots())
    file = io.StringIO()
    drawn.savefig(file, format='svg', metadata={'Date': None})
  return inlined(file.getvalue(), alt)


def shown(
  *draws: Callable[[Any], None],
  legend: Mapping[str, Style] | None = None,
  width: float = WIDTH,
  height: float = HEIGHT + 0.3,
) -> Any:
  """A figure of pyplot with an axis for each picture, side by side.

  A notebook shows it below the cell that makes it.

  Args:
    *draws: (axis) -> None.
    legend: styles by name, in one line below; none without.
    width: of an axis, in inches.
    height: of the figure, in inches.
  Raises:
    types.UserError: matplotlib is not installed.
  """
  with _dressed():
    from matplotlib import lines  # pyright: ignore[reportMissingImports]
    from matplotlib import pyplot  # pyright: ignore[reportMissingImports]

    made = pyplot.figure(
      figsize=(width * len(draws), height), layout='constrained'
    )
    made.set_facecolor(light('page'))  # a notebook may be dark
    for axis, draw in zip(
      made.subplots(1, len(draws), squeeze=False)[0], draws
    ):
      draw(axis)
    marks = [
      lines.Line2D([], [], color=s.drawn, marker=s.marker, linestyle='')
      for s in (legend or {}).values()
    ]
    if marks:
      made.legend(
        marks,
        [*(legend or {})],
        loc='outside lower center',
        ncols=min(len(marks), 6),
      )
  return made


@contextlib.contextmanager
def _dressed() -> Iterator[None]:
  """Figures that are made within look like those of a page.

  Raises:
    types.UserError: matplotlib is not installed.
  """
  matplotlib = extras.load('matplotlib', 'plots', 'take --format=md')
  with matplotlib.rc_context(_settings(matplotlib)):
    yield


def _settings(matplotlib) -> dict[Any, Any]:
  ink, soft = light('ink'), light('soft')
  cycle = [light(name) for name in SERIES]
  return {
    'svg.fonttype': 'none',
    'svg.hashsalt': 'twotsrec',
    'font.sans-serif': ['DejaVu Sans', 'Helvetica'],
    'font.size': 9,
    'axes.titlesize': 10,
    'axes.titlelocation': 'left',
    'axes.prop_cycle': matplotlib.cycler(color=cycle),
    'axes.facecolor': 'none',
    'axes.edgecolor': soft,
    'axes.spines.top': False,
    'axes.spines.right': False,
    'axes.axisbelow': True,
    'axes.grid': True,
    'axes.grid.axis': 'y',
    'grid.color': light('grid'),
    'grid.linewidth': 0.8,
    'text.color': ink,
    'axes.labelcolor': ink,
    'axes.titlecolor': ink,
    'xtick.color': soft,
    'xtick.labelcolor': ink,
    'ytick.color': soft,
    'ytick.labelcolor': ink,
    'legend.frameon': False,
    'lines.markersize': 4.5,
    'lines.linewidth': 1.4,
  }


# ---- From a file to a part of a page

_LINK = re.compile(r'url\(#([^)]+)\)')
_LONG = re.compile(r'-?\d+\.\d{3,}')
_NAMED = {both[0]: f'var(--{name})' for name, both in COLORS.items()}
_HEX = re.compile('|'.join(_NAMED))


def inlined(svg: str, alt: str) -> str:
  """A file of matplotlib as an element of a page.

  What a page does not need goes: the head, styles that would hold for all of
  it, names that nothing refers to and more than two digits.
  """
  root = xml.fromstring(svg)
  for parent in root.iter():
    for child in [*parent]:
      if _bare(child.tag) in ('metadata', 'style'):
        parent.remove(child)
  linked, own = _linked(root), hashlib.sha256(svg.encode()).hexdigest()[:6]
  rename = lambda value: f'{own}{value}'
  for element in root.iter():
    element.tag = _bare(element.tag)
    element.text, element.tail = element.text and element.text.strip(), None
    attributes = {_bare(k): v for k, v in element.attrib.items()}
    element.attrib.clear()
    for name, value in attributes.items():
      if name == 'id' and value not in linked:
        continue
      if name == 'id':
        value = rename(value)
      elif name == 'href':
        value = f'#{rename(value[1:])}'
      else:
        value = _LINK.sub(lambda at: f'url(#{rename(at[1])})', value)
        value = _shortened(value)
      element.set(name, value)
  box = root.get('viewBox', '')
  root.attrib.clear()
  root.attrib.update({'viewBox': box, 'role': 'img', 'aria-label': alt})
  title = xml.Element('title')
  title.text = alt
  root.insert(0, title)
  return xml.tostring(root, encoding='unicode')


def _linked(root) -> set[str]:
  """Names that something in a picture refers to."""
  names = set()
  for element in root.iter():
    for name, value in element.attrib.items():
      names.update(_LINK.findall(value))
      if _bare(name) == 'href':
        names.add(value.removeprefix('#'))
  return names


def _bare(name: str) -> str:
  return name.rpartition('}')[2]


def _shortened(value: str) -> str:
  """Colors by their names, and numbers with two digits."""
  value = _HEX.sub(lambda match: _NAMED[match[0]], value)
  return _LONG.sub(lambda match: _short(match[0]), value)


def _short(number: str) -> str:
  return f'{float(number):.2f}'.rstrip('0').rstrip('.')
