// libFuzzer target: csrc/deaggregate and google's protobuf for C++ read the same messages, find the same in them, and
// refuse the same. The input is the message, without frame.
//
// One exception: a tag of five bytes whose value does not fit in 32 bits. C++ drops the bits on top, upb (Python's
// protobuf) and we refuse it.
#include <memory>
#include <string>
#include <vector>

#include "aggregated_record.pb.h"

extern "C" {
#include "whole_walk.h"
}

namespace {

constexpr int kRecords = 3, kTags = 4; // the fields that are messages: of a message, of a record

uint64_t read_varint(const uint8_t *&at) {
    uint64_t value = 0;
    for (unsigned shift = 0;; shift += 7) {
        value |= uint64_t{*at & 0x7fu} << shift;
        if (*at++ < 0x80) return value;
    }
}

// Is there a tag past 32 bits? Only for what protobuf took: reads as it does, and checks nothing.
bool has_tag_past_32_bits(const uint8_t *at, const uint8_t *end, int messages_in) {
    unsigned groups = 0;
    while (at < end) {
        uint64_t wide = read_varint(at);
        if (wide > UINT32_MAX) return true;
        uint32_t tag = static_cast<uint32_t>(wide);
        switch (tag & 7) {
        case SP_WIRE_VARINT:
            read_varint(at);
            break;
        case SP_WIRE_FIXED64:
            at += 8;
            break;
        case SP_WIRE_BYTES: {
            uint64_t size = read_varint(at);
            bool is_message = groups == 0 && messages_in != 0 && static_cast<int>(tag >> 3) == messages_in;
            if (is_message && has_tag_past_32_bits(at, at + size, messages_in == kRecords ? kTags : 0)) return true;
            at += size;
            break;
        }
        case SP_WIRE_GROUP:
            groups++;
            break;
        case SP_WIRE_END_GROUP:
            groups--;
            break;
        case SP_WIRE_FIXED32:
            at += 4;
            break;
        }
    }
    return false;
}

bool is_hash_key(const std::string &text) {
    static const std::string largest = "340282366920938463463374607431768211455";
    if (text.empty() || text.find_first_not_of("0123456789") != std::string::npos) return false;
    std::string digits = text.substr(std::min(text.find_first_not_of('0'), text.size()));
    return digits.size() < largest.size() || (digits.size() == largest.size() && digits <= largest);
}

// What we have to say about a message that protobuf took.
sp_finding judge(const AggregatedRecord &message) {
    for (int i = 0; i < message.records_size(); i++) {
        const Record &record = message.records(i);
        size_t at = static_cast<size_t>(i);
        if (record.partition_key_index() >= static_cast<uint64_t>(message.partition_key_table_size()))
            return {SP_PARTITION_KEY_INDEX_RANGE, 0, at};
        if (!record.has_explicit_hash_key_index()) continue;
        if (record.explicit_hash_key_index() >= static_cast<uint64_t>(message.explicit_hash_key_table_size()))
            return {SP_EXPLICIT_HASH_KEY_INDEX_RANGE, 0, at};
        if (!is_hash_key(message.explicit_hash_key_table(static_cast<int>(record.explicit_hash_key_index()))))
            return {SP_BAD_EXPLICIT_HASH_KEY, 0, at};
    }
    return {SP_WELL_FORMED, 0, 0};
}

bool same(sp_slice ours, const std::string &theirs) {
    return ours.size == theirs.size() && memcmp(ours.data, theirs.data(), ours.size) == 0;
}

// An index as sp_wire_record holds it.
uint32_t clamped(uint64_t index) {
    return static_cast<uint32_t>(std::min<uint64_t>(index, UINT32_MAX - 1));
}

void compare_record(sp_slice message, const sp_wire_record &ours, const Record &theirs) {
    DEMAND(same(sp_span_of(message, ours.data), theirs.data()));
    DEMAND(ours.partition_key_index == clamped(theirs.partition_key_index()));
    DEMAND(ours.explicit_hash_key_index ==
           (theirs.has_explicit_hash_key_index() ? clamped(theirs.explicit_hash_key_index()) : SP_NO_INDEX));
    DEMAND(ours.tag_count == static_cast<uint32_t>(theirs.tags_size()));
    std::vector<sp_wire_tag> tags(ours.tag_count);
    sp_record_tags(message, &ours, tags.data());
    for (int i = 0; i < theirs.tags_size(); i++) {
        const sp_wire_tag &tag = tags[static_cast<size_t>(i)];
        DEMAND(same(tag.key, theirs.tags(i).key()));
        DEMAND((tag.has_value != 0) == theirs.tags(i).has_value());
        if (tag.has_value) DEMAND(same(tag.value, theirs.tags(i).value()));
    }
}

// What sp_walk_records makes of a message.
struct Walked {
    explicit Walked(sp_slice message) : walk(begin_walk(message, 2)) {
        walk_all_records(&walk, &records, &finding);
    }
    ~Walked() {
        free(records);
        end_walk(&walk);
    }
    Walked(const Walked &) = delete;
    Walked &operator=(const Walked &) = delete;
    bool parses() const {
        return finding.verdict == SP_WELL_FORMED || finding.verdict >= SP_PARTITION_KEY_INDEX_RANGE;
    }
    sp_walk walk;
    sp_wire_record *records = nullptr;
    sp_finding finding{SP_WELL_FORMED, 0, 0};
};

template <typename Texts>
void compare_table(sp_slice message, const sp_span *ours, uint32_t count, const Texts &theirs) {
    DEMAND(count == static_cast<uint32_t>(theirs.size()));
    for (int i = 0; i < theirs.size(); i++) DEMAND(same(sp_span_of(message, ours[i]), theirs[i]));
}

void compare(sp_slice message, const AggregatedRecord *theirs) {
    Walked ours(message);
    if (!ours.parses() && theirs != nullptr && ours.finding.verdict == SP_BAD_FIELD &&
        has_tag_past_32_bits(message.data, message.data + message.size, kRecords))
        return;
    DEMAND(ours.parses() == (theirs != nullptr));
    if (theirs == nullptr) return;
    const sp_walk &walk = ours.walk;
    compare_table(message, walk.partition_keys, walk.found.partition_keys, theirs->partition_key_table());
    compare_table(message, walk.explicit_hash_keys, walk.found.explicit_hash_keys, theirs->explicit_hash_key_table());
    DEMAND(walk.found.records == static_cast<uint32_t>(theirs->records_size()));
    for (int i = 0; i < theirs->records_size(); i++) compare_record(message, ours.records[i], theirs->records(i));
    sp_finding expected = judge(*theirs);
    DEMAND(ours.finding.verdict == expected.verdict);
    DEMAND(ours.finding.record == expected.record);
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static AggregatedRecord *parsed = new AggregatedRecord; // its memory serves again
    std::unique_ptr<uint8_t[]> copy(new uint8_t[size]);     // exactly, as over-reads show then
    if (size) memcpy(copy.get(), data, size);
    bool took = parsed->ParsePartialFromArray(copy.get(), static_cast<int>(size)) && parsed->IsInitialized();
    compare({copy.get(), size}, took ? parsed : nullptr);
    return 0;
}
