// Elements, made and changed: text is always text, never markup.

const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

export function make(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

export function draw(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

// Only what has changed is touched, so that nothing flickers and readers are not told again.
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function setData(node, name, value) {
  if (node.dataset[name] !== value) node.dataset[name] = value;
}

// Pairs of a term and what it is: [["up", "3 m"], …]. A pair with null is left out.
export function setPairs(list, pairs) {
  const wanted = pairs.filter(([, value]) => value !== null);
  while (list.children.length > wanted.length) list.lastElementChild.remove();
  while (list.children.length < wanted.length) {
    list.append(make("div", {}, make("dt"), make("dd")));
  }
  wanted.forEach(([term, value, tone], place) => {
    const row = list.children[place];
    setText(row.firstElementChild, term);
    setText(row.lastElementChild, value);
    setData(row, "tone", tone ?? "");
  });
}

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "text") node.textContent = value;
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}
