// Read-outs where the pointer is. The page is whole without them.
for (const chart of document.querySelectorAll(".chart")) {
  const points = JSON.parse(chart.dataset.points);
  const cursor = chart.querySelector(".cursor");
  const [line, circle, text] = cursor.children;
  const show = (event) => {
    const box = chart.getBoundingClientRect();
    const at = (event.clientX - box.left) / box.width * chart.viewBox.baseVal.width;
    const [x, y, step, value, mean] = points.reduce((a, b) => Math.abs(b[0] - at) < Math.abs(a[0] - at) ? b : a);
    line.setAttribute("x1", x);
    line.setAttribute("x2", x);
    circle.setAttribute("cx", x);
    circle.setAttribute("cy", y);
    text.textContent = `step ${step.toLocaleString("en")}: ${value.toFixed(3)}, mean ${mean.toFixed(3)}`;
    cursor.setAttribute("visibility", "visible");
  };
  chart.addEventListener("pointermove", show);
  chart.addEventListener("pointerdown", show);
  chart.addEventListener("pointerleave", () => cursor.setAttribute("visibility", "hidden"));
}
