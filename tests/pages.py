"""What every figure owes its page."""

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def assert_panels_fit(figure: Figure) -> None:
    """No panel, its labels included, leaves the page by more than a pixel or overlaps another one by more than two."""
    canvas = FigureCanvasAgg(figure)
    (width, height), renderer = canvas.get_width_height(), canvas.get_renderer()
    boxes = [ax.get_tightbbox(renderer) for ax in figure.axes]
    for k, (ax, box) in enumerate(zip(figure.axes, boxes, strict=True)):
        assert box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1, ax.get_title(loc="left")
        for other in boxes[k + 1 :]:
            across = min(box.x1, other.x1) - max(box.x0, other.x0)
            along = min(box.y1, other.y1) - max(box.y0, other.y0)
            assert across <= 2 or along <= 2, ax.get_title(loc="left")
