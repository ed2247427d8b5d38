"""A list by the rules of a shop, as a loop that reads like their definition."""


def filled(ranking, touched, k, category, at_most, share):
  """One list, place by place.

  Args:
    ranking: items, best first.
    touched: items that are not new.
    k: items of the list.
    category: of every item; below 0 for none.
    at_most: items of a category; 0 is any number.
    share: of the places for what is new, as two whole numbers.
  """
  left, chosen = list(ranking), []
  for place in range(1, k + 1):
    fits = [
      item
      for item in left
      if not at_most
      or category[item] < 0
      or sum(category[own] == category[item] for own in chosen) < at_most
    ]
    new = [item for item in fits if item not in touched]
    so_far = sum(item not in touched for item in chosen)
    wanted = so_far < place * share[0] // share[1]
    best = new if wanted and new else fits
    if not best:
      break
    chosen.append(best[0])
    left.remove(best[0])
  return chosen
