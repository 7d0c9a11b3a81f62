#!/usr/bin/env python3
"""Writes tests/golden/data/templates/*.json: templates of our own, rendered by jinja2 as transformers
sets it up. A case is [template, output], with null for the output where rendering or compiling fails
there, or {"raises": words} where the template raises them itself.

    python3 tools/make_template_goldens.py tests/golden/data/templates      (needs: transformers)
"""
import json
import os
import pathlib
import sys
import time

from transformers.utils import chat_template_utils

NOW = 1753920000


class Clock(chat_template_utils.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(NOW)


CONTEXTS = {
    "none": {},
    "values": {
        "t": True, "f": False, "n": None, "i": 7, "neg": -3, "big": 123456789012345678901234567890,
        "x": 2.5, "e": 1e22, "tiny": 1.5e-7, "s": "Hello, World", "u": "Straße ΣΑΣ ǆ 日本 😀 ﬁ", "empty": "",
        "q": "it's \"quoted\" \\ \n\t\r \u0007 \u00ad \u200b <&>", "ws": " \u3000\t pad \u00a0\n",
        "l": [3, 1, 2], "words": ["b", "A", "c", "B", "a"], "mixed": [1, "a", None, True, 2.0, [1], {"k": "v"}],
        "d": {"b": 1, "a": {"z": [1, 2], "y": None}, "items": "key", "ü": "ö"}, "nested": [[1, 2], [3, [4, 5]]],
        "people": [{"name": "Ann", "age": 30, "tags": ["x"]}, {"name": "bob", "age": 25},
                   {"name": "Cy", "age": 30, "city": {"zip": 8000}}],
        "lines": "one\ntwo\r\nthree\n\nfive\n", "csv": "a,b,,c", "html": "<a href=\"x\">'&'</a>", "zero": 0,
        "floats": [0.1, 1.0, -0.0, 100000.0, 1e16, 123456.789, 1e-5, 0.0001, 5e-324, 1.7976931348623157e308]},
    "chat": {
        "bos_token": "<s>", "eos_token": "</s>", "add_generation_prompt": True,
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": " Hi <there> "},
                     {"role": "assistant", "content": None, "tool_calls": [
                         {"id": "c1", "type": "function",
                          "function": {"name": "find", "arguments": {"q": "größe", "n": 2, "deep": {"a": [1.0, None]}}}}]},
                     {"role": "tool", "tool_call_id": "c1", "content": "{\"ok\": true}"},
                     {"role": "user", "content": [{"type": "text", "text": "two"}, {"type": "text", "text": " parts"}]}],
        "tools": [{"type": "function", "function": {"name": "find", "description": "Finds \"it\" & more",
                   "parameters": {"type": "object", "properties": {"q": {"type": "string"},
                                  "n": {"type": "integer", "default": 1}}, "required": ["q"]}}}]},
}


def out(*expressions):
    return ["{{ " + e + " }}" for e in expressions]


EXPRESSIONS = out(
    "1", "-1", "1_000", "1.50", "1e3", "1E-7", "2e400 > 1", "'a'", '"b"', "'a' 'b' \"c\"", "true", "False", "none", "None",
    "t", "f", "n", "i", "neg", "big", "x", "e", "tiny", "s", "u", "l", "d", "mixed", "floats", "nested", "q", "[q]", "[u, ws]",
    "missing", "[missing]", "(1,)", "(1, 2)", "()", "[]", "{}", "{'a': 1, 2: 'b', 'a': 3}", "1, 2", "(1)", "{1: 1, true: 2, 1.0: 3}",
    "1 + 2", "1 + 2.0", "7 / 2", "6 / 2", "7 // 2", "-7 // 2", "7 % 3", "-7 % 3", "7 % -3", "7.5 % 2", "-7.5 % 2", "7.5 // -2",
    "2 ** 10", "2 ** -1", "2 ** 0.5", "-2 ** 2", "2 ** 3 ** 2", "1 - 2 - 3", "2 * 3 + 4 * 5", "(2 + 3) * 4", "+5", "- -5", "-true",
    "true + 1", "'a' + 'b'", "'ab' * 3", "3 * 'ab'", "'ab' * -1", "[1] + [2]", "[1, 2] * 2", "(1,) + (2,)", "1 ~ 2 ~ 'x' ~ none ~ missing",
    "'a' ~ 1 + 2", "9007199254740993 - 1", "9223372036854775807", "-9223372036854775807 - 1", "9223372036854775807 // -1", "1 / 3", "0.1 + 0.2", "1e16", "1e15 + 0.5",
    "1 == 1.0", "1 == true", "'1' == 1", "none == none", "missing == missing2", "missing == none", "[1, 2] == [1, 2]", "[1] == (1,)",
    "{'a': 1, 'b': 2} == {'b': 2, 'a': 1.0}", "1 != 2", "1 < 2 < 3", "1 < 3 < 2", "3 > 2 >= 2", "'a' < 'b'", "'B' < 'a'", "[1, 2] < [1, 3]",
    "(1, 'a') <= (1, 'a')", "1 < 2 == true", "big == big", "big == 1", "1 in l", "'a' in d", "'x' not in s", "'World' in s", "'' in s",
    "'a' in missing", "[1] in nested", "none in mixed", "1 in (1, 2)", "not 1", "not not 1", "not 1 == 2", "1 and 2", "0 and 2", "0 or 'x'", "'' or none",
    "1 or missing.x", "t and not f", "1 if t", "1 if f", "(1 if f) is defined", "1 if f else 2", "1 if f else 2 if f else 3", "'a' if t else 'b' ~ 'c'",
    "l[0]", "l[-1]", "l[9]", "l[true]", "s[0]", "s[-1]", "u[2]", "u[15]", "u[99]", "d.b", "d['b']", "d.a.z[1]", "d['a']['y']", "d.missing", "d['missing']",
    "d.items is string", "d['items']", "{'k': 1}['items'] is defined", "{'k': 1}['keyz'] is defined", "people[0].items is defined", "l.0", "nested[1][1][0]",
    "n.foo", "i.foo", "s.foo", "s['foo']", "none['x']", "1 .foo", "l['x']", "{1: 'a'}[1]", "{1: 'a'}[1.0]", "{1: 'a'}[true]", "{(1, 2): 'a'}[(1, 2)]", "d[l]", "d[none]",
    "s[1:4]", "s[:5]", "s[7:]", "s[-5:]", "s[:-5]", "s[::2]", "s[::-1]", "s[5:1:-1]", "s[-1:-4:-1]", "u[1:8]", "u[::-1]", "u[3:-2:2]", "l[1:]", "l[::-1]", "l[:-1]",
    "l[5:]", "l[none:2]", "l[0:3:2]", "(1, 2, 3)[1:]", "l[1:][0]", "range(10)[2:5]|list", "l[-100:100]", "l[100:-100:-1]", "s[100:]", "l[::100]", "l[::-100]",
    "range(3)", "range(3)|list", "range(1, 4)|list", "range(5, 0, -2)|list", "range(0)|list", "range(2, 8, 3)", "range(3)[1]", "range(3)|length", "2 in range(3)", "range(5)[-1]",
    "'\\n\\t\\\\\\'\\\"'", "'\\x41\\u00e9\\U0001F600'", "'\\101\\0x'|length", "'\\d\\q'", "'a\\\nb'", "'é'", "'é'|length",
    "dict(a=1, b='x')", "dict([(1, 2), ('a', 'b')])", "dict({'a': 1}, b=2)", "dict()", "namespace(a=1)", "namespace(a=1).a", "namespace({'b': 2}).b", "namespace().x is defined", "namespace(a=1)['a']",
    "{'a': [1, (2, none), {'b': 1.5}]}", "['it\\'s', \"a\\\"b\", 'both \\' and \\\"']", "{'a': missing}", "loop is defined", "d.keys()", "d.values()", "d.items() is defined", "{'a': 1}.items()", "{'a': 1}.items()|list",
    "{'a': 1}.keys()|list", "{'a': 1}.get('a')", "{'a': 1}.get('b')", "{'a': 1}.get('b', 5)", "{'a': 1}.copy()", "l.count(1)", "l.index(2)", "people|length", "(s|safe) + '<b>'", "'<b>' + (s|safe)", "[s|safe]", "(s|safe) ~ '<b>'",
    "s.upper", "range", "raise_exception is defined", "strftime_now is defined", "nothing is defined", "strftime_now('%Y-%m-%d')", "strftime_now('%d %b %Y %H:%M %j %%')", "strftime_now('%B %A %p|%f|%Z|%z|')", "strftime_now('')",
    "l.append(1)", "d.pop('a')", "l.append is defined", "(l.append)", "s.format", "s()", "1()", "missing()", "missing.x", "missing['x']", "missing + 1", "-missing", "missing < 1", "missing[1:]", "1 in 5", "1 in 'a'", "l < 1", "'a' < 1", "none < none",
    "1 / 0", "1 // 0", "1 % 0", "1.5 / 0", "0 ** -1", "'a' + 1", "1 + 'a'", "none + 1", "-'a'", "l + (1,)", "n[1:]", "d[1:]", "s['a':]", "s[::0]", "{[1]: 1}", "range(1000000)|length", "range(1, 2, 0)", "range('a')", "dict(1)", "namespace(_a=1)", "d < d",
    "s is string and i is number", "i is number if t", "not s is string", "i is not number", "1 is eq 1", "1 is eq(2)", "'a' is in ['a']", "4 is divisibleby 2", "4 is divisibleby(3)", "i is odd", "i is even", "x is odd", "'a' is odd",
)

TESTS = out(*[f"{v} is {test}" for v in ["t", "n", "i", "x", "s", "l", "(1, 2)", "d", "missing", "range(2)", "d.keys()", "big", "l|map('string')", "namespace()", "range", "s.upper", "1.0", "true", "false", "empty", "d.items"]
               for test in ["defined", "undefined", "none", "boolean", "true", "false", "integer", "float", "number", "string", "mapping", "iterable", "sequence", "callable"]],
            "1 is lt 2", "1 is le 1", "2 is gt 3", "2 is ge 2", "1 is ne 2", "2 is greaterthan 1", "2 is lessthan 1", "1 is equalto 1", "n is sameas none", "t is sameas true", "i is sameas true", "'upper' is filter", "'nope' is filter", "'odd' is test",
            "l|select('>', 1)|list", "l|select('==', 1)|list", "l|select('!=', 1)|list", "l|select('<=', 2)|list", "l|select('in', [1, 2])|list", "missing is eq missing", "none is lt 1")

STRINGS = out(
    "s.upper()", "u.upper()", "u.lower()", "u.title()", "u.capitalize()", "'ΟΔΥΣΣΕΥΣ ΑΣ'.lower()", "'ΑΣ.Β Σ'.lower()", "'they\\'re bill\\'s'.title()", "'they\\'re-ok [x] (y) {z} <w>'|title", "u|title", "u|upper", "u|lower", "u|capitalize",
    "'İIıi'.lower()", "'ŉǰΐ'.upper()", "'ǆabc ǅ Ǆ'.title()", "'ß'.title()", "'ß'|title", "'a b\\tc  d-e_f'|title", "12|title", "none|upper", "true|lower", "1.5|string", "none|string", "[1]|string", "missing|string", "missing|upper",
    "ws.strip()", "ws.lstrip()", "ws.rstrip()", "ws|trim", "'xxaxx'.strip('x')", "'xyaxy'.lstrip('yx')", "'xyaxy'.rstrip('yx')", "'日本a日'.strip('日')", "'éaè'.strip('è')", "'aXb'|trim('ab')", "5|trim", "''.strip()", "'   '.strip()", "ws.strip(none)",
    "csv.split(',')", "csv.split(',', 1)", "csv.rsplit(',', 1)", "csv.rsplit(',')", "csv.split(',', 0)", "'a b  c'.split()", "' a b  c '.split(none, 1)", "' a b  c '.rsplit(none, 1)", "' a b '.rsplit()", "'a b c'.split(maxsplit=1)", "''.split()", "''.split(',')",
    "'aXXbXXc'.split('XX')", "'aaa'.split('aa')", "'aaa'.rsplit('aa')", "s.split(', ')[-1]", "'</think>x</think>y'.split('</think>')[-1].lstrip('\\n')", "'a'.split('')", "'a'.split(1)", "lines.splitlines()", "lines.splitlines(true)", "'a\\x0bb\\x85c\\u2028d'.splitlines()",
    "s.startswith('Hell')", "s.startswith(('x', 'H'))", "s.endswith('ld')", "s.endswith('')", "s.startswith(1)", "s.replace('l', 'L')", "s.replace('l', 'L', 2)", "s.replace('', '-')", "u.replace('', '-', 3)", "s.replace('o', '')", "''.replace('', 'x')", "s.replace('l', 'L', count=1)",
    "s.find('o')", "s.rfind('o')", "s.find('zz')", "u.find('日')", "s.index('W')", "s.index('zz')", "s.count('l')", "s.count('')", "'aaa'.count('aa')", "', '.join(words)", "'-'.join(['a'])", "''.join([])", "'-'.join('abc')", "'-'.join([1])", "','.join(d)",
    "s.removeprefix('Hello')", "s.removesuffix('World')", "s.removesuffix('x')", "s.partition(', ')", "s.rpartition('o')", "s.partition('zz')", "s.rpartition('zz')",
    "'%s|%5s|%-5s|%.2s' % ('a', 'b', 'c', 'defg')", "'%d %i %05d %+d % d %x %X %o %#x' % (1, 2, 3, 4, 5, 255, 255, 8, 255)", "'%.2f %8.3f %e %g %G' % (1.005, 2.5, 12345.678, 0.00001, 1e20)", "'%r %s' % ('a', none)", "'%s' % 5", "'%s' % [1]", "'%(a)s-%(b)d' % {'a': 1, 'b': 2}", "'100%%' % ()",
    "'%d' % 'a'", "'%s %s' % 1", "'%s' % (1, 2)", "'%d' % 3.9", "'x' % {}", "'x' % 1", "'%5d|%-5d|' % (42, 42)", "'%s'|format('a')", "'%s %d'|format('a', 3)", "'%(x)s'|format(x=1)", "'%s' % true", "'%d' % true", "'%.3d' % 7", "'%q' % 1", "'%s' % missing", "'%s日' % '本'", "'%4s|' % '日'",
    "'{} {}'.format(1, 'a')", "'{0} {1} {0}'.format('a', 'b')", "'{a} {b}'.format(a=1, b=none)", "'{{}} {}'.format(1)", "'{:>5}|{:<5}|{:^5}|{:*^7}'.format('a', 'b', 'c', 'd')", "'{:5}|{:5}|{:05d}'.format('a', 1, 42)", "'{:.2f} {:,} {:,.1f} {:%}'.format(3.14159, 1234567, 9876.54, 0.25)",
    "'{:x} {:X} {:o} {:b} {:#x} {:#b}'.format(255, 255, 8, 5, 255, 5)", "'{!r} {!s}'.format('a', 'b')", "'{:+d} {: d}'.format(1, 2)", "'{:.3}'.format('abcdef')", "'{'.format(1)", "'}'.format(1)", "'{}'.format()", "'{1}'.format(1)", "'{a}'.format(1)", "'{}'.format([1, 'a'])", "'{}'.format(1.0)", "'{:e} {:g}'.format(12345.678, 0.1)",
    "'{:日^5}'.format('x')", "'{:s}'.format(1)", "'{:d}'.format('a')", "'{:,}'.format(123)", "'{:,}'.format(-1234567.5) if f else '{:,.2f}'.format(-1234567.5)", "'{:<5d}|{:^6.1f}|'.format(3, 2.25)",
    "lines|indent", "lines|indent(2)", "lines|indent(2, true)", "lines|indent(2, first=true, blank=true)", "lines|indent('> ')", "lines|indent(width=1)", "'a'|indent", "''|indent", "'a\\r'|indent", "5|indent", "html|e", "html|escape|escape", "html|safe", "(html|e) + '<'", "html|e|upper", "s|replace('l', 'L')", "s|replace('l', 'L', 1)", "12321|replace(2, 'x')",
    "s|length", "u|count", "s|first", "s|last", "u|last", "s|list", "s|reverse", "u|reverse", "''|first", "s|default('x')", "missing|default('x')", "missing|default", "''|default('x')", "''|default('x', true)", "none|d('x')", "none|d('x', boolean=true)", "missing|d(missing2)|d('y')",
    "'42'|int", "' 42 '|int", "'4_2'|int", "'-7'|int", "'42.9'|int", "'x'|int", "'x'|int(-1)", "'x'|int(default=5)", "none|int", "3.99|int", "-3.99|int", "true|int", "'1e3'|int", "'123456789012345678901'|int", "big|int", "[]|int", "'inf'|int", "missing|int", "'١'|length",
    "'1.5'|float", "'x'|float", "'x'|float(2.0)", "3|float", "' -1e3 '|float", "'nan'|float", "'inf'|float", "'-Infinity'|float", "none|float", "'1_0'|float", "'0x1p3'|float", "missing|float", "'1.'|float", "'.5'|float", "'.'|float",
    "-5|abs", "-2.5|abs", "'a'|abs", "true|abs", "2.5|round", "3.5|round", "2.675|round(2)", "2.567|round(1)", "42|round", "42.2|round(0, 'ceil')", "42.789|round(1, 'floor')", "-0.4|round", "1e300|round(2)", "'a'|round", "2.5|round(method='x')", "5|round(2)",
)

FILTERS = out(
    "l|join", "l|join(', ')", "words|join('-')", "mixed|join('|')", "people|join(', ', attribute='name')", "d|join(',')", "'abc'|join('.')", "missing|join", "none|join", "l|join(1)", "[missing, 1]|join('x')", "l|first", "l|last", "[]|first", "[]|last", "d|first", "d|last", "missing|first", "missing|last", "5|first",
    "l|length", "d|length", "missing|length", "5|length", "none|length", "l|map('string')|length", "d|list", "(1, 2)|list", "missing|list", "5|list", "d|items|list", "missing|items|list", "5|items|list", "l|items|list", "d|dictsort", "{'B': 1, 'a': 2}|dictsort", "{'B': 1, 'a': 2}|dictsort(true)", "{'a': 2, 'b': 1}|dictsort(by='value')", "{'a': 2, 'b': 1}|dictsort(false, 'key', true)",
    "{'a': 1, 'b': 'x'}|dictsort(by='value')", "l|dictsort", "people|map(attribute='name')|list", "people|map(attribute='city.zip')|list", "people|map(attribute='tags.0', default='-')|list", "people|map(attribute='city', default={})|list", "words|map('upper')|list", "words|map('replace', 'a', 'x')|join", "l|map('string')|join(',')", "l|map('nope')|list", "l|map|list", "missing|map('upper')|list", "none|map('upper')|list",
    "['a b', 'c']|map('indent', width=2, first=true)|list", "nested|map('first')|list", "nested|map(attribute=0)|list", "[{'a': [1, 2]}]|map(attribute='a.1')|list", "mixed|select|list", "mixed|reject|list", "mixed|select('string')|list", "l|select('odd')|list", "l|reject('odd')|list", "l|select('gt', 1)|list", "mixed|select('none')|list", "none|select|list", "l|select('nope')|list",
    "people|selectattr('city')|list", "people|selectattr('age', 'equalto', 30)|map(attribute='name')|list", "people|rejectattr('age', 'eq', 30)|map(attribute='name')|join", "people|selectattr('city', 'defined')|list|length", "people|rejectattr('city')|list|length", "people|selectattr('name', 'in', ['Ann', 'Cy'])|list|length", "people|selectattr|list", "people|selectattr('age', '>', 26)|map(attribute='age')|sum",
    "l|sort", "l|sort(reverse=true)", "words|sort", "words|sort(case_sensitive=true)", "words|sort(true)", "people|sort(attribute='age')|map(attribute='name')|list", "people|sort(attribute='age', reverse=true)|map(attribute='name')|list", "people|sort(attribute='name')|map(attribute='name')|list", "mixed|sort", "d|sort", "'hello'|sort", "missing|sort", "nested|sort(reverse=true)", "[1.5, 1, true]|sort",
    "words|unique|list", "words|unique(case_sensitive=true)|list", "[1, 1.0, true, 2]|unique|list", "people|unique(attribute='age')|map(attribute='name')|list", "[[1], [1]]|unique|list", "l|reverse|list", "l|reverse|first", "d|reverse|list", "l|map('string')|reverse|list", "5|reverse", "l|reverse", "l|min", "l|max", "words|min", "words|max(case_sensitive=true)", "people|max(attribute='age')", "[]|min", "[]|max is defined", "mixed|max", "l|sum", "people|sum(attribute='age')", "l|sum(start=10)", "words|sum", "nested|sum(start=[])", "[]|sum", "[0.1, 0.2]|sum",
    "range(7)|batch(3)|list", "range(7)|batch(3, 0)|list", "[]|batch(2, 1)|list", "range(7)|slice(3)|list", "range(7)|slice(3, '-')|list", "range(6)|slice(3, '-')|list", "range(2)|slice(4)|list", "d|attr('items') is defined", "d|attr('b') is defined", "namespace(a=1)|attr('a')", "s|attr('nope')|d('-')",
    "d|tojson", "mixed|tojson", "u|tojson", "q|tojson", "floats|tojson", "big|tojson", "n|tojson", "t|tojson", "(1, 2)|tojson", "()|tojson", "{}|tojson", "[]|tojson", "d|tojson(indent=2)", "d|tojson(indent=0)", "nested|tojson(indent=1)", "d|tojson(indent='\\t')", "u|tojson(ensure_ascii=true)", "q|tojson(true)", "d|tojson(separators=(',', ':'))", "d|tojson(indent=2, separators=(' ,', ' : '))", "d|tojson(sort_keys=true)", "{'b': {'z': 1, 'y': 2}, 'a': 0}|tojson(sort_keys=true, indent=2)",
    "{1: 2, true: 3, none: 4, 1.5: 5}|tojson", "{(1, 2): 3}|tojson", "missing|tojson", "[missing]|tojson", "range(3)|tojson", "d.items()|tojson", "l|map('string')|tojson", "namespace(a=1)|tojson", "d|tojson(nope=1)", "html|tojson", "html|tojson|safe", "(html|safe)|tojson", "[]|tojson(indent=2)", "{'a': []}|tojson(indent=2)", "d|tojson(indent=-1)", "'\\x7f\\u2028'|tojson", "'\\x7f\\u2028'|tojson(ensure_ascii=true)",
    "l|upper", "l|nope", "l|join(nope=1)", "l|first(1)", "s|trim(1)", "d|tojson|length", "words|sort|first|upper", "(l|sort|first) + 1", "l|map('int')|sum / 2", "-1|abs", "-i|abs", "not l|length > 5", "l|length + 1", "l|length ~ 'x'", "[l|first, l|last]", "l|select('odd')|first", "l|select('even')|last",
)

BLOCKS = [
    "a\n{% if t %}\nb\n{% endif %}\nc\n", "a {% if t %} b {% endif %} c", "a\n  {% if t %}\n  b\n  {% endif %}\nc\n\n", "a\n  {%- if t -%}\n  b\n  {%- endif -%}\nc\n", "a\n  {%+ if t %}\n  b\n  {%+ endif +%}\nc\n",
    "  {{ i }}  \n  {{- i }}  \n  {{ i -}}  \n x", "{# c #}\nx\n  {# c #}  \n y {#- c -#} z {#+ c +#}\n w", "x\n\t{# c #}\ny", "{% raw %}{{ x }} {% if %}{% endraw %}\nz", "a {%- raw -%} {{ x }} {%- endraw -%} b", "{% raw %}\n a\n  {% endraw %}\n b", "  {% raw %}x{% endraw %}", "a\r\nb\rc\n{% if t %}\r\nd{% endif %}\r\n",
    "{% if t %}\n\nx{% endif %}", "x {%- if t %} y {% endif -%}\n\n z", "\n\n{%- if t %}x{% endif %}", "{% set a = 1 -%}\n\n  x{{ a }}", "x\n", "x\n\n", "\n", "", "x\n  {% set a %}\n  b\n  {% endset %}\n[{{ a }}]", "{{ '}}' }}{{ '%}' }}{{ {'a': {'b': 1}} }}", "{{ {'a': 1}['a'] }}{% if {'a': 1}.a %}y{% endif %}", "{ {x} } {{ '{{' }} {%% }", "a{{- ' b ' -}}c", "{%if t%}x{%endif%}", "{{i}}{{-i}}", "{{ i\n}}", "\u3000{% if t %}x{% endif %}", "a\n\u3000 {% if t %}x{% endif %}", "line {% if t %}\n  keep{% endif %}\n  end",
    "{% for x in l %}{{ x }},{% endfor %}", "{% for x in [] %}x{% else %}none{% endfor %}", "{% for x in missing %}x{% else %}none{% endfor %}", "{% for c in 'aé😀' %}{{ c }}.{% endfor %}", "{% for k in d %}{{ k }} {% endfor %}", "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}", "{% for k, v in d|dictsort %}{{ k }}{% endfor %}", "{% for a, (b, c) in [(1, (2, 3))] %}{{ a }}{{ b }}{{ c }}{% endfor %}",
    "{% for x in l %}{{ loop.index }}/{{ loop.index0 }}/{{ loop.revindex }}/{{ loop.revindex0 }}/{{ loop.first }}/{{ loop.last }}/{{ loop.length }}/{{ loop.previtem }}/{{ loop.nextitem }}/{{ loop.depth }}/{{ loop.depth0 }}\n{% endfor %}", "{% for x in l if x > 1 %}{{ x }}{{ loop.index }}/{{ loop.length }} {% endfor %}", "{% for x in l if x > 5 %}x{% else %}no{% endfor %}", "{% for x in l %}{{ loop.cycle('a', 'b') }}{% endfor %}", "{% for x in [1, 1, 2] %}{{ loop.changed(x) }}{% endfor %}", "{% for x in l %}{{ loop }}{% endfor %}", "{% for x in l %}{{ loop.nope }}{% endfor %}",
    "{% for x in l %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% endfor %}", "{% for x in l %}{% if x == 1 %}{% break %}{% endif %}{{ x }}{% else %}e{% endfor %}", "{% for x in l %}{% for y in l %}{{ x * y }}{% if loop.last %}{% break %}{% endif %}{% endfor %};{{ loop.index }}{% endfor %}", "{% for x in l %}{% set a = x %}{% endfor %}{{ a }}", "{% set a = 0 %}{% for x in l %}{% set a = a + x %}{{ a }}{% endfor %}{{ a }}", "{% set ns = namespace(a=0) %}{% for x in l %}{% set ns.a = ns.a + x %}{% endfor %}{{ ns.a }}", "{% for x in l %}{{ x }}{% endfor %}{{ x }}", "{% for x in l %}{% if loop.first %}{% set a = 5 %}{% endif %}{{ a }}{% endfor %}",
    "{% for i in range(3) %}{{ i }}{% endfor %}{{ i }}", "{% for x in l|sort %}{{ x }}{% endfor %}", "{% for x in l, words %}{{ x }}{% endfor %}", "{% for x in l if t else words %}{{ x }}{% endfor %}", "{% for x in 5 %}{% endfor %}", "{% for x in none %}{% endfor %}", "{% for a, b in l %}{% endfor %}", "{% for a, b in [[1]] %}{% endfor %}", "{% for a, b in [[1, 2, 3]] %}{% endfor %}", "{% for a, b in ['xy', 'zw'] %}{{ b }}{{ a }}{% endfor %}", "{% for x in l %}{{ loop.length }}{% for y in l if y == x %}{{ loop.length }}{% endfor %}{% endfor %}",
    "{% set g = l|select('odd') %}{% for x in g %}{{ x }}{% endfor %}{% for x in g %}{{ x }}{% else %}spent{% endfor %}", "{% set g = l|map('string') %}{{ g|first }}{{ g|join('-') }}{{ 'y' if g }}", "{% set g = l|reverse %}{{ g|list }}{{ g|list }}",
    "{% if missing %}a{% elif i == 7 %}b{% elif t %}c{% else %}d{% endif %}", "{% if 0 %}a{% elif '' %}b{% else %}d{% endif %}", "{% if t %}{% set a = 1 %}{% else %}{% set a = 2 %}{% endif %}{{ a }}", "{% if f %}{% set i = 1 %}{% endif %}{{ i }}", "{% if t: %}x{% endif %}", "{% if t %}{% endif %}", "{% if l|length > 2 and not f %}y{% endif %}",
    "{% set a, b = 1, 2 %}{{ b }}{{ a }}", "{% set (a, b) = 'xy' %}{{ a }}{{ b }}", "{% set a = 1, 2 %}{{ a }}", "{% set a %}x{{ i }}{% endset %}{{ a }}{{ a|length }}", "{% set a|upper %}x{{ i }}y{% endset %}{{ a }}", "{% set a|replace('x', 'z')|trim %} x {% endset %}[{{ a }}]", "{% set a %}{% set b = 1 %}{{ b }}{% endset %}{{ a }}{{ b }}", "{% set s = s ~ '!' %}{{ s }}", "{% set ns = namespace() %}{% set ns.x %}blk{% endset %}{{ ns.x }}", "{% set ns = namespace(x=[]) %}{% for i in l %}{% set ns.x = ns.x + [i] %}{% endfor %}{{ ns.x }}", "{% set d.x = 1 %}", "{% set ns = namespace() %}{% set ns._x = 1 %}", "{% set a, b = 1 %}", "{% set a, b = 1, 2, 3 %}", "{% set ns = namespace() %}{% set ns.a = ns.b %}[{{ ns.a }}]{{ ns }}",
    "{% macro m(a, b=2, c=a) %}[{{ a }},{{ b }},{{ c }}]{% endmacro %}{{ m(1) }}{{ m(1, c=3) }}{{ m(b=5, a=4) }}{{ m() }}{{ m }}", "{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, x=3) }}", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(b=2) }}", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, a=2) }}", "{% macro fact(n) %}{% if n <= 1 %}1{% else %}{{ n * fact(n - 1)|int }}{% endif %}{% endmacro %}{{ fact(10) }}", "{% macro m() %}{{ i }}{% set i = 1 %}{{ i }}{% endmacro %}{{ m() }}{{ i }}", "{% set a = 1 %}{% macro m() %}{{ a }}{% endmacro %}{% set a = 2 %}{{ m() }}",
    "{% macro m() %}  x\n{% endmacro %}[{{ m() }}][{{ m()|trim }}]", "{% macro a() %}A{{ b() }}{% endmacro %}{% macro b() %}B{% endmacro %}{{ a() }}", "{% for x in l %}{% macro m() %}{{ x }}{% endmacro %}{{ m() }}{% endfor %}", "{% macro m(x) %}{{ caller(x, 2) }}{% endmacro %}{% call(a, b) m(1) %}<{{ a }}{{ b }}{{ i }}>{% endcall %}", "{% macro m() %}({{ caller() }}){% endmacro %}{% call m() %}in{% endcall %}", "{% macro m() %}{{ caller is defined }}{% endmacro %}{{ m() }}{% call m() %}{% endcall %}", "{% macro m() %}x{% endmacro %}{% call m() %}y{% endcall %}", "{% macro m() %}{{ caller() }}{% endmacro %}{{ m() }}", "{% macro outer() %}{% macro inner(x) %}{{ x }}!{% endmacro %}{{ inner(1) }}{% endmacro %}{{ outer() }}", "{% macro m(l) %}{% for x in l %}{% if x is iterable %}{{ m(x) }}{% else %}{{ x }}{% endif %}{% endfor %}{% endmacro %}{{ m(nested) }}", "{% set ns = namespace(m=1) %}{% macro m(a) %}<{{ a }}>{% endmacro %}{% set ns.m = m %}{{ ns.m(3) }}", "{% macro m(a, a2=a ~ 'x') %}{{ a2 }}{% endmacro %}{{ m('y') }}", "{{ m() }}{% macro m() %}{% endmacro %}", "{% macro m(x) %}{{ x is defined }}{% endmacro %}{{ m() }}{{ m(none) }}", "{% macro m() %}{{ loop.index }}{% endmacro %}{% for x in l %}{{ m() }}{% endfor %}",
    "{% with a = 1, b = 2 %}{{ a }}{{ b }}{% endwith %}{{ a }}", "{% with %}{% set q1 = 1 %}{{ q1 }}{% endwith %}{{ q1 }}", "{% set a = 1 %}{% with a = 2, b = a %}{{ a }}{{ b }}{% endwith %}", "{% filter upper %}x{{ s }}{% endfilter %}", "{% filter replace('o', '0')|trim %} foo {% endfilter %}|", "{% generation %}a{{ i }}{% set z = 1 %}{% endgeneration %}{{ z }}", "{% for x in l %}{% generation %}{{ x }}{{ loop.index }}{% endgeneration %}{% endfor %}", "{% print i %}{% print 1, 2 %}",
    "{% for m in people %}{{ i }}{{ m.name }}{% set i = m.age %}{{ i }} {% endfor %}{{ i }}", "{% set x1 = 1 %}{% if t %}{% set x1 = 2 %}{% for q in [1] %}{% set x1 = 3 %}{% endfor %}{% endif %}{{ x1 }}", "{% for q in [1] %}{{ s }}{% endfor %}{% set s = 1 %}{{ s }}", "{% macro m() %}{{ s }}{% endmacro %}{{ m() }}{% set s = 1 %}{{ m() }}", "{% for q in [1, 2] %}{{ s2 }}{% set s2 = q %}{% endfor %}", "{% if f %}{% set s = 1 %}{% endif %}{% for q in [1] %}{{ s }}{% endfor %}", "{{ s }}{% for q in [1] %}{{ s }}{% endfor %}{% set s = 1 %}",
    "{% for q in [1, 2] %}{% if q == 1 %}{% set v = 'a' %}{% endif %}{{ v }}{% endfor %}", "{% set v = 'z' %}{% for q in [1, 2] %}{% if q == 1 %}{% set v = 'a' %}{% endif %}{{ v }}{% endfor %}{{ v }}",
]

SYNTAX = ["{{", "{{ }}", "{{ 1 +", "{% if %}", "{% if t %}", "{% endif %}", "{% for %}{% endfor %}", "{% for x in %}{% endfor %}", "{% for x l %}{% endfor %}", "{# x", "{% raw %}x", "{{ 'a }}", "{{ (1 }}", "{{ 1) }}", "{{ [1 }}", "{{ {1} }}", "{{ 1 2 }}", "{{ a..b }}", "{{ a| }}", "{{ a is }}", "{{ 'a' is is }}",
          "{% set %}", "{% set 1 = 2 %}", "{% set true = 2 %}", "{% macro %}{% endmacro %}", "{% macro m(1) %}{% endmacro %}", "{% macro m(a=1, b) %}{% endmacro %}", "{% else %}", "{% break %}", "{% macro m() %}{% break %}{% endmacro %}", "{% if t %}{% endfor %}", "{{ ! }}", "{{ a ? b }}", "{% call 1 %}{% endcall %}", "{{ f(a=1, 2) }}", "{{ x is string is string }}", "{% for x in l %}{% else %}{% break %}{% endfor %}", "{{ 01 }}", "{%  %}", "{{ a.1b }}", "{{ not }}", "{{ 1 if }}", "{{ '\\x4' }}", "{% for x in l recursive if %}{% endfor %}", "{{ `a` }}", "{{ $ }}"]

CHAT = [
    "{% for m in messages %}{% if loop.first and m.role != 'system' %}{{ '<|im_start|>system\nYou.<|im_end|>\n' }}{% endif %}{{ '<|im_start|>' + m['role'] + '\n' ~ (m['content'] or '') + '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    "{{- bos_token }}\n{%- set ns = namespace(system='', last=-1) -%}\n{%- for m in messages -%}\n  {%- if m.role == 'system' -%}\n    {%- set ns.system = m.content -%}\n  {%- elif m.role == 'user' -%}\n    {%- set ns.last = loop.index0 -%}\n  {%- endif -%}\n{%- endfor -%}\n[{{ ns.system }}|{{ ns.last }}]\n{%- for m in messages if m.role != 'system' %}\n  {%- if m.content is string %}\n    {{- '\\n' ~ m.role|upper ~ ': ' ~ m.content|trim }}\n  {%- elif m.content is iterable and m.content is not mapping %}\n    {%- for part in m.content %}\n      {%- if part.type == 'text' %}{{ part['text'] }}{% endif %}\n    {%- endfor %}\n  {%- endif %}\n  {%- if m.tool_calls is defined and m.tool_calls %}\n    {%- for c in m.tool_calls %}\n      {{- '<call>' ~ {'name': c.function.name, 'arguments': c.function.arguments}|tojson ~ '</call>' }}\n      {%- for k, v in c.function.arguments|items %}\n        {{- '\\n' ~ k ~ '=' ~ (v if v is string else v|tojson) }}\n      {%- endfor %}\n    {%- endfor %}\n  {%- endif %}\n{%- endfor %}\n",
    "{%- macro type_of(p) -%}\n{%- if p.type == 'string' -%}str{%- elif p.type == 'integer' -%}int{%- else -%}Any{%- endif -%}\n{%- endmacro -%}\n{%- for t in tools -%}\n{%- set f = t.function -%}\ndef {{ f.name }}({% for n, p in f.parameters.properties.items() %}{{ n }}: {{ type_of(p) }}{% if n not in f.parameters.required %} = {{ p.default }}{% endif %}{% if not loop.last %}, {% endif %}{% endfor %}):\n    \"\"\"{{ f.description }}\"\"\"\n{% endfor %}",
    "{% if tools %}{{ tools|tojson(indent=4) }}\n{{ tools|map(attribute='function')|map(attribute='name')|join(', ') }}{% endif %}{{ messages[1:]|selectattr('role', 'equalto', 'user')|list|length }}{{ (messages|last).content|map(attribute='text')|join|tojson }}",
    "{% if messages[0]['role'] == 'system' %}{% set sys = messages[0]['content'] %}{% set rest = messages[1:] %}{% else %}{% set rest = messages %}{% endif %}{{ sys }}{% for m in rest %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% endfor %}",
    "{{ raise_exception('only ' ~ messages|length ~ ' \"messages\" <allowed>') }}", "{{ raise_exception() }}", "{% if not date_string is defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}Today: {{ date_string }}",
    "{%- for message in messages[::-1] %}{% set index = (messages|length - 1) - loop.index0 %}{{ index }}{{ message.role[0] }}{% endfor %}", "{% set content = '<think>\nhm\n</think>\n\nAnswer' %}{% if '</think>' in content %}{% set r = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}{% set content = content.split('</think>')[-1].lstrip('\\n') %}{% endif %}[{{ r }}][{{ content }}]",
    "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{{ eos_token if m.role == 'assistant' }}\n{% endfor %}", "{{ messages }}", "{{ messages[2].tool_calls[0].function.arguments }}", "{{ tools[0] | string }}",
]

GROUPS = {
    "expressions": (EXPRESSIONS, "values"), "tests": (TESTS, "values"), "strings": (STRINGS, "values"),
    "filters": (FILTERS, "values"), "blocks": (BLOCKS, "values"), "syntax": (SYNTAX, "values"), "chat": (CHAT, "chat"),
}


def render(template, context):
    try:
        return chat_template_utils._compile_jinja_template(template).render(**CONTEXTS[context])
    except Exception as error:
        if type(error).__name__ == "TemplateError":
            return {"raises": str(error)}
        return None


def main():
    os.environ["TZ"] = "UTC"
    time.tzset()
    chat_template_utils.datetime = Clock
    folder = pathlib.Path(sys.argv[1])
    for name, (templates, context) in GROUPS.items():
        cases = []
        for template in dict.fromkeys(templates):
            want = render(template, context)
            if isinstance(want, str) and " at 0x" in want:
                want = None  # an address: refused here
            cases.append([template, want])
        with open(folder / f"{name}.json", "w") as file:
            head = {"now": NOW, "context": CONTEXTS[context]}
            file.write(json.dumps(head, ensure_ascii=False)[:-1] + ', "cases": [\n')
            file.write(",\n".join(json.dumps(case, ensure_ascii=False) for case in cases) + "\n]}\n")
        print(f"{name}: {len(cases)} cases, {sum(c[1] is None for c in cases)} fail")


main()
