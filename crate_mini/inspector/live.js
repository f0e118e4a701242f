// The head viewer as a widget of a notebook. The files that it needs stand before this one, in the same module.

export default {
  render({ model, el: place }) {
    place.innerHTML = model.get("page"); // what stands in its scripts is data
    const viewer = mountAt(place.firstElementChild, "headViewer", (root, data) => new HeadViewer(root, data));
    if (!viewer) return undefined; // and the page says why
    viewer.send = (question) => model.send(question);
    const hear = ({ method, news }) => viewer[method](news);
    model.on("msg:custom", hear);
    return () => model.off("msg:custom", hear);
  },
};
