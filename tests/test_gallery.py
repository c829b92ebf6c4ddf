"""index.html beside pictures of predictions."""

import re
from urllib.parse import unquote

from libra_tf.drawing.gallery import Shown, write_gallery
from libra_tf.drawing.palette import class_color

NAMES = {1: "<cell> & co", 2: "plate"}


def test_the_page_shows_every_picture_and_what_is_on_it(tmp_path):
    shown = [
        Shown("a #1.png", "photos/a #1.jpg", [1, 1, 2]),
        Shown('"b".png', 'photos/"b".jpg', []),
    ]
    path = write_gallery(str(tmp_path), shown, NAMES, 0.5)
    page = path.read_text(encoding="utf-8")
    assert path == tmp_path / "index.html"
    sources = re.findall(r'<img [^>]*src="([^"]*)"', page)
    assert [unquote(s) for s in sources] == ["a #1.png", '"b".png']
    assert "photos/a #1.jpg: 2 &lt;cell&gt; &amp; co, 1 plate" in page
    assert "nothing found" in page
    assert "2 images, 3 detections with score &ge; 0.5" in page
    assert "rgb({},{},{})".format(*class_color(2)) in page
    assert "<cell>" not in page
    assert "ground truth" not in page
    assert "http" not in page


def test_the_key_tells_what_dashes_are(tmp_path):
    shown = [Shown("a.png", "a.png", [7])]
    path = write_gallery(str(tmp_path), shown, NAMES, 0.1, show_truth=True)
    page = path.read_text(encoding="utf-8")
    assert "ground truth" in page
    assert "1 7<" in page  # an id without a name
