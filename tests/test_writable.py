"""files.writable: what could not be written later is told before."""

import os
import sys

import pytest

from libra_tf.errors import UserError
from libra_tf.files.writable import require_writable


def test_what_can_be_written_stays_as_it_is(tmp_path):
    path = tmp_path / "a"
    path.write_text("old")
    before = os.stat(path)
    require_writable([tmp_path, tmp_path / "none"], [path, tmp_path / "b"], [path])
    assert os.stat(path) == before
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_what_is_in_the_way_is_named(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="file: is a file, but a folder is needed"):
        require_writable([tmp_path / "file"])
    for kind in ("grown", "replaced"):
        with pytest.raises(UserError, match="folder: is a folder, but a file is"):
            require_writable([], **{kind: [tmp_path / "folder"]})


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="no such folder there")
def test_a_folder_that_takes_no_files():
    """Not even those of an administrator, whom permissions do not stop."""
    with pytest.raises(UserError, match="/proc/self/fd: nothing can be written into"):
        require_writable(["/proc/self/fd"])


@pytest.mark.skipif(not hasattr(os, "geteuid") or not os.geteuid(), reason="may all")
def test_what_permissions_forbid(tmp_path):
    (tmp_path / "a").touch(mode=0o444)
    require_writable([], replaced=[tmp_path / "a"])
    with pytest.raises(UserError, match="a: cannot be written"):
        require_writable([], grown=[tmp_path / "a"])
    tmp_path.chmod(0o555)
    with pytest.raises(UserError, match="nothing can be written into this folder"):
        require_writable([tmp_path])
    tmp_path.chmod(0o755)
