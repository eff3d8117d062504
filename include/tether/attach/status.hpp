// SPDX-License-Identifier: BSL-1.0
// A gate's and a container's status in words, one line for each thing that is there, and as JSON
// for programs. No header includes it but the umbrella.
//
//     std::cout << tether::text_of(gate.status()) << tether::text_of(dma.status());
//
//     discards: inhibited
//     'nics': any hold, 1
//     container 'nics': 134217728 bytes mapped in 2, 134217728 pinned; ...
//     group 'nics': 1 hold on every discard, because no device of it has agreed to them; ...
//
// In JSON, sizes and addresses are numbers up to 2^64 - 1: a reader that keeps them in a double
// rounds those beyond 2^53. A name that is no UTF-8 has U+FFFD for each wrong byte.
#pragma once

#include <tether/attach/container_status.hpp>
#include <tether/core/detail/quoted.hpp>
#include <tether/inhibit/gate_status.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <string>
#include <string_view>
#include <utility>

namespace tether {

namespace detail {

/// A moment as ISO 8601 has it: `2026-11-26T21:44:50Z`.
[[nodiscard]] inline std::string moment_of(std::int64_t since_1970) {
  const auto seconds = static_cast<std::time_t>(since_1970);
  std::tm parts{};
  std::array<char, 32> text{};
  if (::gmtime_r(&seconds, &parts) == nullptr) return std::to_string(since_1970);
  return {text.data(), std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &parts)};
}

/// `1 hold`, `2 holds`.
[[nodiscard]] inline std::string many(std::uint64_t count, std::string_view what) {
  return std::to_string(count).append(" ").append(what).append(count == 1 ? "" : "s");
}

/// Why a group needs the holds that it has, or none.
[[nodiscard]] inline std::string why_held(container_status const& of, group_counts const& group) {
  if (!of.pins) return "its backend pins nothing";
  if (group.declined != 0)
    return many(group.declined, "open device") + " of it did not agree to discards";
  if (!group.consent_known) return "no device of it has agreed to discards";
  return group.agreed != 0 ? "its open devices agreed to discards"
                           : "it is known to pin on demand only";
}

[[nodiscard]] inline std::string holds_of(container_status const& of, std::uint32_t holds) {
  if (holds == 0) return "no hold of its own";
  return many(holds, "hold")
      .append(of.forbids == hold_kind::any ? " on every discard"
                                           : " on discards that are not coordinated");
}

/// Writes the members of JSON objects and lists, with commas between them.
class json_writer {
 public:
  void open(char bracket) {
    separate();
    text_ += bracket;
    fresh_ = true;
  }
  void close(char bracket) {
    text_ += bracket;
    fresh_ = false;
  }
  json_writer& key(std::string_view name) {
    separate();
    append_json(text_, name);
    text_ += ": ";
    fresh_ = true;  // its value follows without a comma
    return *this;
  }
  void text(std::string_view value) {
    separate();
    append_json(text_, value);
  }
  void number(std::uint64_t value) {
    separate();
    text_ += std::to_string(value);
  }
  void truth(bool value) {
    separate();
    text_ += value ? "true" : "false";
  }
  [[nodiscard]] std::string take() && { return std::move(text_); }

 private:
  void separate() {
    if (!fresh_) text_ += ", ";
    fresh_ = false;
  }

  std::string text_;
  bool fresh_ = true;
};

}  // namespace detail

/// A gate in words: whether discards are inhibited, then a line for each holder.
/// Cost: allocates. Fails: may throw `std::bad_alloc`.
[[nodiscard]] inline std::string text_of(gate_status const& of) {
  const bool coordinated = of.allows(discard_kind::coordinated);
  std::string text = "discards: ";
  if (of.allows(discard_kind::uncoordinated)) text += "allowed\n";
  else text += coordinated ? "inhibited, but for coordinated ones\n" : "inhibited\n";
  for (holder_status const& one : of.holders) {
    detail::append_quoted(text, one.name.view());
    text.append(": ").append(name_of(one.what)).append(", ");
    text.append(std::to_string(one.count)).append("\n");
  }
  return text;
}

/// A container in words: a line for itself, then one for each group, and one for each device.
/// Cost: allocates. Fails: may throw `std::bad_alloc`.
[[nodiscard]] inline std::string text_of(container_status const& of) {
  std::string text = "container ";
  detail::append_quoted(text, of.name);
  text.append(": ").append(std::to_string(of.mapped.bytes)).append(" bytes mapped in ");
  text.append(std::to_string(of.mapped.mappings)).append(", ");
  text.append(std::to_string(of.pinned_bytes())).append(" pinned, ");
  text.append(std::to_string(of.mapped.discarded)).append(" discarded, ");
  text.append(std::to_string(of.trimmed_bytes)).append(" trimmed; ");
  text.append(detail::many(of.left_out, "section")).append(" left out; ");
  text.append(detail::holds_of(of, of.holds));
  text.append(of.diverged ? "; diverged: call abandon()\n" : "\n");
  for (group_status const& group : of.groups) {
    text += "group ";
    detail::append_quoted(text, group.name);
    text.append(": ").append(detail::holds_of(of, group.holds)).append(", because ");
    text.append(detail::why_held(of, group.counts)).append("; attached since ");
    text.append(detail::moment_of(group.since));
    text.append(group.unplug_requested ? "; being unplugged\n" : "\n");
    for (device_status const& device : group.devices) {
      text += "device ";
      detail::append_quoted(text, device.name);
      text.append(" of ");
      detail::append_quoted(text, group.name);
      text.append(device.agrees == consent::given ? ": agreed" : ": did not agree");
      text.append(" to discards; ").append(detail::many(device.leases, "lease"));
      text.append(" out; open since ").append(detail::moment_of(device.since)).append("\n");
    }
  }
  return text;
}

/// A gate as one JSON object. Cost: allocates. Fails: may throw `std::bad_alloc`.
[[nodiscard]] inline std::string json_of(gate_status const& of) {
  detail::json_writer to;
  to.open('{');
  to.key("discards_allowed").truth(of.allows(discard_kind::uncoordinated));
  to.key("coordinated_discards_allowed").truth(of.allows(discard_kind::coordinated));
  to.key("holders").open('[');
  for (holder_status const& one : of.holders) {
    to.open('{');
    to.key("name").text(one.name.view());
    to.key("what").text(name_of(one.what));
    to.key("count").number(one.count);
    to.close('}');
  }
  to.close(']');
  to.close('}');
  return std::move(to).take();
}

/// A container as one JSON object. Cost: allocates. Fails: may throw `std::bad_alloc`.
[[nodiscard]] inline std::string json_of(container_status const& of) {
  detail::json_writer to;
  to.open('{');
  to.key("name").text(of.name);
  to.key("diverged").truth(of.diverged);
  to.key("mapped_bytes").number(of.mapped.bytes);
  to.key("mappings").number(of.mapped.mappings);
  to.key("pinned_bytes").number(of.pinned_bytes());
  to.key("discarded_bytes").number(of.mapped.discarded);
  to.key("trimmed_bytes").number(of.trimmed_bytes);
  to.key("left_out_sections").number(of.left_out);
  to.key("holds").number(of.holds);
  to.key("holds_forbid").text(of.forbids == hold_kind::any ? "any" : "uncoordinated");
  to.key("usable_iova_known").truth(of.iova_known);
  to.key("usable_iova").open('[');
  for (auto const& range : of.usable_iova) {
    to.open('{');
    to.key("first").number(range.first.value);
    to.key("last").number(range.last.value);
    to.close('}');
  }
  to.close(']');
  to.key("groups").open('[');
  for (group_status const& group : of.groups) {
    to.open('{');
    to.key("name").text(group.name);
    to.key("holds").number(group.holds);
    to.key("why").text(detail::why_held(of, group.counts));
    to.key("unplug_requested").truth(group.unplug_requested);
    to.key("since").text(detail::moment_of(group.since));
    to.key("devices").open('[');
    for (device_status const& device : group.devices) {
      to.open('{');
      to.key("name").text(device.name);
      to.key("agrees_to_discards").truth(device.agrees == consent::given);
      to.key("leases").number(device.leases);
      to.key("since").text(detail::moment_of(device.since));
      to.close('}');
    }
    to.close(']');
    to.close('}');
  }
  to.close(']');
  to.close('}');
  return std::move(to).take();
}

}  // namespace tether
