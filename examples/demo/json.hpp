// SPDX-License-Identifier: BSL-1.0
// The rows as JSON, for programs.
#pragma once

#include "row.hpp"

#include <cstdint>
#include <cstdio>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

namespace demo {

[[nodiscard]] inline std::string json_string(std::string_view text) {
  std::string out = "\"";
  for (const char one : text) {
    const auto byte = static_cast<unsigned char>(one);
    if (one == '"' || one == '\\') {
      out += '\\';
      out += one;
    } else if (byte < 0x20) {
      char escaped[8];
      std::snprintf(escaped, sizeof escaped, "\\u%04x", byte);
      out += escaped;
    } else {
      out += one;
    }
  }
  return out + '"';
}

[[nodiscard]] inline std::string list_of(std::vector<std::string> const& sentences) {
  std::string out = "[";
  for (auto const& one : sentences) out += (out.size() > 1 ? ", " : "") + json_string(one);
  return out + "]";
}

inline void write_json(std::ostream& to, std::uint64_t memory, std::vector<row> const& rows,
                       std::vector<std::string> const& notes, bool good) {
  to << "{\n  \"memory_bytes\": " << memory << ",\n  \"good\": " << (good ? "true" : "false")
     << ",\n  \"notes\": " << list_of(notes) << ",\n  \"rows\": [";
  char const* separator = "\n";
  for (auto const& one : rows) {
    to << separator << "    {\"backend\": " << json_string(one.backend)
       << ", \"inhibition\": " << json_string(one.inhibition)
       << ", \"granularity\": " << json_string(one.granularity)
       << ",\n     \"guest_bytes\": " << one.guest_bytes << ", \"map_calls\": " << one.map_calls
       << ", \"pinned_bytes\": " << one.pinned_bytes
       << ", \"pages_requested\": " << one.frames.requested
       << ", \"pages_discarded\": " << gone(one)
       << ", \"pages_inhibited\": " << one.frames.inhibited
       << ", \"pages_waiting\": " << one.frames.waiting - one.frames.completed
       << ",\n     \"unit_bytes\": " << one.unit_bytes
       << ", \"pages_discarded_while_attached\": " << one.gone_meanwhile
       << ",\n     \"stale_bytes\": " << one.stale_bytes
       << ", \"verdict\": " << json_string(name_of(one.ended))
       << ", \"remarks\": " << list_of(one.remarks) << "}";
    separator = ",\n";
  }
  to << "\n  ]\n}\n";
}

}  // namespace demo
