"""Files in the format of envoyproxy/ratelimit, and their faults with the line."""

import re
from pathlib import Path

import pytest

from services.ratelimit.domains.domain import Domain, Entry, Rule, Unit
from services.ratelimit.domains.domain_file import read_domain, read_domains
from services.ratelimit.yaml_lines import FaultyFileError

FILE = """\
domain: api
descriptors:
  # all of them
  - key: remote_address
    rate_limit:
      unit: second
      requests_per_unit: 10
      burst: 40

  - key: remote_address
    value: 50.0.0.5
    detailed_metric: true
    rate_limit: {unit: MINUTE, requests_per_unit: 0}

  - key: code
    value: 404
    shadow_mode: true
    value_to_metric: true
    rate_limit:
      name: not_found
      unit: hour
      requests_per_unit: 5
    descriptors:
      - key: user
        value: yes
        rate_limit:
          unlimited: true
          replaces:
            - name: not_found
      - key: user
        value: x*
        share_threshold: true
        rate_limit:
          unit: month
          requests_per_unit: 7
  - key: allowed
    value:
    rate_limit:
    descriptors:
"""


def rule(domain: Domain, *pairs: tuple[str, str]) -> Rule | None:
    match = domain.match([Entry(key, value.encode()) for key, value in pairs])
    return match.rule if match else None


def numbers(found: Rule | None) -> tuple[int, Unit, int | None]:
    assert found
    assert found.rate
    limit = found.rate.limit
    return found.rate.requests_per_unit, found.rate.unit, limit.capacity if limit else None


def test_a_file_in_the_usual_format_is_read() -> None:
    domain = read_domain(FILE)
    assert domain.name == "api"
    assert numbers(rule(domain, ("remote_address", "1.2.3.4"))) == (10, Unit.SECOND, 40)
    assert numbers(rule(domain, ("remote_address", "50.0.0.5"))) == (0, Unit.MINUTE, None)
    not_found = rule(domain, ("code", "404"))
    assert numbers(not_found) == (5, Unit.HOUR, 5)
    assert not_found
    assert (not_found.name, not_found.shadow) == ("not_found", True)
    unlimited = rule(domain, ("code", "404"), ("user", "yes"))
    assert unlimited == Rule(None, replaces=frozenset({"not_found"}))
    assert numbers(rule(domain, ("code", "404"), ("user", "xy"))) == (7, Unit.MONTH, 7)
    assert rule(domain, ("allowed", "x")) is None
    assert rule(domain, ("code", "405")) is None


def test_values_of_a_wildcard_that_shares_have_one_bucket() -> None:
    domain = read_domain(FILE)
    buckets = {
        match.bucket
        for value in (b"x1", b"x2")
        if (match := domain.match([Entry("code", b"404"), Entry("user", value)]))
    }
    assert len(buckets) == 1


def test_a_domain_without_descriptors_limits_nothing() -> None:
    assert rule(read_domain("domain: empty"), ("a", "b")) is None


@pytest.mark.parametrize(
    ("old", "new", "where", "said"),
    [
        ("domain: api", "domain: shoal", "domain: shoal", "Shoal's own Envoy"),
        ("domain: api", "domain: ''", "domain:", "length >= 1"),
        ("domain: api\n", "", "descriptors:", "missing required field `domain`"),
        ("unit: second", "unit: fortnight", "fortnight", "'fortnight' is no unit; write one of second, minute"),
        ("      unit: second\n", "", "rate_limit:", "needs unit and requests_per_unit"),
        ("requests_per_unit: 10", "requests_per_unit: -1", "-1", ">= 0"),
        ("requests_per_unit: 10", "requests_per_unit: 4294967296", "4294967296", "4294967295"),
        ("requests_per_unit: 10", "requests_per_unit: many", "many", "Expected `int"),
        ("requests_per_unit: 10", "requests_per_unit: 0", "burst: 40", "no burst"),
        ("burst: 40", "burst: 0", "burst: 0", "capacity must be from 1"),
        ("burst: 40", "burts: 40", "burts", "'burts' is unknown"),
        ("detailed_metric: true", "quota_mode: true", "quota_mode", "'quota_mode' is unknown"),
        ("    value: 50.0.0.5\n", "", "- key: remote_address\n    detailed", "with any value is there twice"),
        ("value: x*", "value: x", "share_threshold", "only a value that ends in *"),
        ("value: yes", "value: x*", "- key: user\n        value: x*\n        share", "with value 'x*' is there twice"),
        ("unlimited: true", "unlimited: true\n          unit: day", "unlimited", "no unit"),
        ("- name: not_found", "- name: ''", "- name: ''", "length >= 1"),
        ("      name: not_found", "      name: me\n      replaces: [{name: me}]", "replaces: [", "replace itself"),
        ("- key: allowed", "- kee: allowed", "- kee", "'kee' is unknown"),
        ("- key: allowed", "- key: ''", "- key: ''", "length >= 1"),
    ],
)
def test_a_fault_is_told_with_its_line(old: str, new: str, where: str, said: str) -> None:
    assert FILE.count(old) == 1
    text = FILE.replace(old, new)
    with pytest.raises(FaultyFileError) as refused:
        read_domain(text)
    assert said in str(refused.value)
    assert refused.value.line == text.count("\n", 0, text.index(where)) + 1


def test_several_files_are_several_domains() -> None:
    assert set(read_domains({"a.yaml": "domain: a", "b.yaml": "domain: b"})) == {"a", "b"}


def test_a_domain_in_two_files_is_refused_with_the_second_file() -> None:
    with pytest.raises(ValueError, match=r"^b\.yaml: line 2: the domain 'a' is in another file already$"):
        read_domains({"a.yaml": "domain: a", "b.yaml": "# again\ndomain: a"})


def test_a_fault_names_the_file() -> None:
    with pytest.raises(ValueError, match=r"^b\.yaml: line 1: "):
        read_domains({"a.yaml": "domain: a", "b.yaml": "domain: [b]"})


def test_the_rules_in_the_documentation_are_good() -> None:
    documented = (Path(__file__).parents[3] / "docs" / "domains.md").read_text()
    (rules,) = re.findall(r"```yaml\n(domain: .*?)```", documented, re.DOTALL)
    domain = read_domain(rules)
    assert numbers(rule(domain, ("remote_address", "203.0.113.5"))) == (0, Unit.SECOND, None)
    assert numbers(rule(domain, ("generic_key", "api"), ("user", "x"))) == (1000, Unit.HOUR, 1000)
    tested = rule(domain, ("path", "/download/x"))
    assert tested
    assert tested.shadow
