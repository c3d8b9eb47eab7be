from zoomexp.datasets.inventory import Inventory

FEW = Inventory(("cat", "dog"), {"train": (5, 4), "test": (2, 1000)}, {})
MANY = Inventory(
    tuple("abcdefgh"), {"train": (5, 4, 9, 9, 9, 9, 9, 9)},
    {"x/.a": "hidden", "x/.b": "hidden", "x/c.txt": "no image by its name (.txt)", "x/d.jpg": "dangling link",
     "x/.e": "hidden", "x/.f": "hidden"},
    ("tested on val",),
)  # fmt: skip


def test_the_line():
    assert FEW.line() == "data: 2 classes; train 9 (cat 5, dog 4), test 1,002 (cat 2, dog 1,000); no file passed over"
    assert MANY.line() == (
        "data: 8 classes; train 63 (4 to 9 a class); passed over 6: 4 hidden (x/.a, x/.b, x/.e, ...), "
        "1 no image by its name (.txt) (x/c.txt), 1 dangling link (x/d.jpg); tested on val"
    )


def test_names_with_line_breaks_leave_it_one_line():
    odd = Inventory(("a\nb", "c"), {"train": (1, 2)}, {"a\nb/x\r.txt": "hidden"})
    assert odd.line() == r"data: 2 classes; train 3 (a\nb 1, c 2); passed over 1: 1 hidden (a\nb/x\r.txt)"


def test_the_record():
    assert MANY.summary() == {
        "classes": 8, "images": {"train": 63}, "notes": ["tested on val"],
        "passed_over": {"hidden": 4, "no image by its name (.txt)": 1, "dangling link": 1},
    }  # fmt: skip
    full = FEW.full()
    assert full["classes"] == ["cat", "dog"] and full["passed_over"] == {}
    assert full["images"] == {"train": {"cat": 5, "dog": 4}, "test": {"cat": 2, "dog": 1000}}
