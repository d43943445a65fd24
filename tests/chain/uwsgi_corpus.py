"""Configurations of uWSGI, each of files in one folder; the first is the one that is given."""

from __future__ import annotations

CORPUS: dict[str, dict[str, str]] = {
    "flags": {
        "a.ini": "[uwsgi]\nmaster\nvacuum = true\nneed-app = 1\ndie-on-term = FALSE\nstrict=\n"
    },
    "comments and blanks": {
        "a.ini": "; one\n# two\n[uwsgi]\n\t processes\t=  4 \n  ; three\nthreads = 2 ; no comment\n"
    },
    "carriage returns": {"a.ini": "[uwsgi]\r\nmaster = true\r\nprocesses = 2\r\n"},
    "no newline at the end": {"a.ini": "[uwsgi]\nmaster = true\nprocesses = 2"},
    "several sections of one name": {
        "a.ini": "[uwsgi]\nmaster = true\n[other]\nthreads = 9\n[uwsgi]\nprocesses = 2\n"
    },
    "a section of the same file": {
        "a.ini": "[uwsgi]\nini = :more\nmaster = true\n[more]\nprocesses = 3\nname = %n-%x\n"
    },
    "a section of another file": {
        "a.ini": "[uwsgi]\nini = b.ini:web\nd = %d %n %o\n",
        "b.ini": "[web]\nprocesses = 3\nd = %d %n %x %e %c %s\n[uwsgi]\nthreads = 9\n",
    },
    "the comment behind a section's name": {
        "a.ini": "[uwsgi] ; web\nmaster = true\n[uwsgi]\nthreads = 3\n"
    },
    "placeholders": {
        "a.ini": (
            "[uwsgi]\nbase = /srv\nset-ph = n=3\nset-ph = n=4\nprocesses = %(n)\n"
            "app = %(base)/app\nlog-format = %(addr) %(method) %(base)\n"
        )
    },
    "the first one of a name counts": {
        "a.ini": "[uwsgi]\nprocesses = 2\nprocesses = 3\nthreads = %(processes)\n"
    },
    "sums": {
        "a.ini": (
            "[uwsgi]\nfoo = 7\na = %(foo * 3)\nb = %(foo / 2)\nc = %(foo ++)\nd = %(foo 1)\n"
            "e = %(foo / 0)\nf = %(1 - foo)\ng = %(nothing + 2)\nh = %(foo -- * 2)\n"
        )
    },
    "set": {"a.ini": "[uwsgi]\nset = processes=4\nthreads = %(processes)\n"},
    "a placeholder in a placeholder": {
        "a.ini": "[uwsgi]\nset-ph = a=1\nset-ph = b=%(a)2\nc = %(a)3\nd = %(b)\ne = %(c)\n"
    },
    "variables": {
        "a.ini": (
            "[uwsgi]\nbar = $(CORPUS_PLACE)/x\nfoo = $(CORPUS_NONE)\n"
            "spooler-processes = $(CORPUS_N)\n"
        )
    },
    "a reference to a reference": {
        "a.ini": "[uwsgi]\nfoo = /$(CORPUS_PLACE)\nn = x%(foo)\nm = %(n)%(n)\n"
    },
    "files in values": {
        "a.ini": "[uwsgi]\nbar = @(place.txt)\nfoo = a@(place.txt)b\n",
        "place.txt": "/srv/place\n",
    },
    "conditions": {
        "a.ini": (
            "[uwsgi]\nif-env = CORPUS_N\nprocesses = %(_)\nendif =\n"
            "if-env = CORPUS_NONE\nthreads = 9\nendif =\n"
            "if-not-env = CORPUS_NONE\nthreads = 2\nenv = CORPUS_NEW=1\nendif =\n"
            "if-env = CORPUS_NEW\nbuffer-size = 1\nendif =\n"
            "if-env = CORPUS_N=3\nharakiri = 3\nendif =\n"
            "if-not-env = CORPUS_N=4\nharakiri = 4\nend-if =\n"
            "if-opt = processes\nfoo = %(_)\nend =\n"
            "if-opt = processes=3\nbar = 1\nendif =\n"
            "if-not-opt = master\nmaster = true\nendif =\n"
            "if-file = b.txt\nfile-there = %(_)\nendif =\n"
            "if-not-file = c.txt\nfile-missing = %(_)\nendif =\n"
            "if-exists = %d/b.txt\nthere = %(_)\nendif =\n"
            "if-dir = .\nfolder = 1\nendif =\n"
            "if-not-dir = b.txt\nno-folder = 1\nendif =\n"
            "if-reload =\nagain = 1\nendif =\n"
            "if-not-reload =\nfirst = 1\nendif =\n"
        ),
        "b.txt": "",
    },
    "else": {
        "a.ini": (
            "[uwsgi]\nif-env = CORPUS_NONE\nprocesses = 1\nelse =\nprocesses = 2\nendif =\n"
            "if-env = CORPUS_N\nthreads = 1\nelse =\nthreads = 2\nendif =\n"
        )
    },
    "an if that does not end": {"a.ini": "[uwsgi]\nif-env = CORPUS_NONE\nprocesses = 3\nthreads=4"},
    "an if within one that does not hold": {
        "a.ini": (
            "[uwsgi]\nif-env = CORPUS_NONE\nif-env = CORPUS_N\nthreads = 3\nendif =\n"
            "processes = 2\nendif =\n"
        )
    },
    "an if within one that holds": {
        "a.ini": "[uwsgi]\nif-env = CORPUS_N\nif-env = CORPUS_N\nthreads = 3\nendif =\nendif =\n"
    },
    "loops": {
        "a.ini": (
            "[uwsgi]\nfor = a b  c\npythonpath = /srv/%(_)\nendfor =\n"
            "for-times = 3\nfoo = %(_)\nendfor =\n"
            "for-glob = *.txt\nfound = %(_)\nendfor =\n"
            "for-readline = lines.txt\nline = %(_)\nendfor =\n"
        ),
        "lines.txt": "one\ntwo\n",
        "more.txt": "",
    },
    "include": {
        "a.ini": (
            "[uwsgi]\nprocesses = 2\ninclude = b.ini\nthreads = %(workers-of-b)\nn = %n %N %p %P\n"
        ),
        "b.ini": "[uwsgi]\nworkers-of-b = 5\nn = %n %N\nif-env = CORPUS_N\nx = %(_)\nendif =\n",
    },
    "include within a condition": {
        "a.ini": "[uwsgi]\nif-env = CORPUS_N\ninclude = b.ini\nendif =\n",
        "b.ini": "[uwsgi]\nthreads = 5\nb = %(_)\n",
    },
    "inherit": {
        "a.ini": "[uwsgi]\nfoo = 1\ninherit = b.ini\nprocesses = 2\nenv = CORPUS_LATE=1\n",
        "b.ini": (
            "[uwsgi]\nthreads = %(foo)\nharakiri = 5\nprocesses = 7\nenv = CORPUS_B=$(CORPUS_N)\n"
            "if-env = CORPUS_LATE\nlate = 1\nendif =\n"
        ),
    },
    "other formats included": {
        "a.ini": "[uwsgi]\nyaml = b.yaml\njson = c.json\ninclude = d.yml\n",
        "b.yaml": "uwsgi:\n  processes: 2\n",
        "c.json": '{"uwsgi": {"threads": 3}}',
        "d.yml": "uwsgi:\n  harakiri: 20\n",
    },
    "variables that are set": {
        "a.ini": (
            "[uwsgi]\nset-ph = n=4\nenv = CORPUS_A=%(n)\nenv = CORPUS_B=$(CORPUS_PLACE)=x\n"
            "env = CORPUS_N=9\nunenv = CORPUS_PLACE\nenv = CORPUS_C= 1\nenv = CORPUS_GONE\n"
        )
    },
    "folders of variables": {
        "a.ini": "[uwsgi]\nenvdir = late\nearly-envdir = early\nfoo = $(CORPUS_E) $(CORPUS_L)\n",
        "late/CORPUS_L": "late  \n",
        "late/CORPUS_N": "",
        "early/CORPUS_E": "early\n",
    },
    "percent signs": {"a.ini": "[uwsgi]\na = 50%%\nb = 5%zx\nc = 5%\nd = 1\ne = 100%(a\nf = %()\n"},
    "strange keys": {
        "a.ini": "[uwsgi]\n= 3\n=\nfoo\nfoo bar = 1\n--master = true\n-p = 2\np = 3\n"
    },
    "equals signs": {"a.ini": "[uwsgi]\nenv = CORPUS_X=a=b=c\nroute = ^/(.*)$ goto:x\n"},
    "bad numbers": {"a.ini": "[uwsgi]\nprocesses = 4x\nthreads = abc\nharakiri = 30s\n"},
    "strict, and a name that does not exist": {"a.ini": "[uwsgi]\nstrict = true\nthreds = 2\n"},
    "strict at the end": {"a.ini": "[uwsgi]\nthreds = 2\nstrict = true\n"},
    "strict, and a placeholder": {
        "a.ini": "[uwsgi]\nstrict = true\nset-ph = x=2\nprocesses = %(x)\n"
    },
    "an option as placeholder": {"a.ini": "[uwsgi]\nset-ph = threads=2\n"},
    "a placeholder without a value": {"a.ini": "[uwsgi]\nset-ph = threads\n"},
    "a missing include": {"a.ini": "[uwsgi]\nthreads = 2\ninclude = missing.ini\n"},
    "an include of no known format": {
        "a.ini": "[uwsgi]\ninclude = b.conf\n",
        "b.conf": "[uwsgi]\na=1\n",
    },
    "a missing file in a value": {"a.ini": "[uwsgi]\nchdir = @(missing.txt)\n"},
    "yaml": {
        "a.yaml": (
            "# one\nother:\n  master: false\nuwsgi:\n  master: true   # two\n  processes: 4\n\n"
            '  d: "%d"\n  env: CORPUS_Y=1\n  socket: 127.0.0.1:80\n  set-ph: n=2\n'
            "  threads: %(n)\nlast:\n  threads: 9\n"
        )
    },
    "yaml with depths": {"a.yaml": "uwsgi:\n  processes: 2\n    threads: 3\n harakiri: 4\n"},
    "yaml of another section": {"a.yaml:web": "", "a.yaml": "web:\n  threads: 3\nuwsgi:\n  a: 1\n"},
    "json": {
        "a.json": (
            '{"x": {"threads": 9},\n "uwsgi": {\n  "master": true,\n  "vacuum": false,\n'
            '  "processes": 4, "env": ["CORPUS_J=1",\n    "CORPUS_K=2"],\n  "harakiri": 2.5,\n'
            '  "need-app": null, "o": {"threads": 1}, "chdir": "%d",\n "threads": 2,\n'
            '  "if-env": "CORPUS_N", "foo": "%(_)", "endif": ""}}'
        )
    },
    "json that is none": {"a.json": '{"uwsgi": {"master": true,}}'},
    "json without the object": {"a.json": '{"web": {"master": true}}'},
    "another name for the file": {"a.ini:web": "", "a.ini": "[web]\nthreads = 3\nn = %n %x %o\n"},
    "bytes that are no text": {"a.ini": "[uwsgi]\nprocname = caf\udce9\nmaster = true\n"},
    "a null byte": {"a.ini": "[uwsgi]\nmaster = true\0 or not\nthreads = 2\n"},
}

ENVIRON = {"CORPUS_PLACE": "/srv/place", "CORPUS_N": "3", "CORPUS_GONE": "x"}
