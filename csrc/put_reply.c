#include "put_reply.h"

#include "json_reader.h"

/* Text that is given for the first time. */
static int read_text(sp_cursor *in, sp_slice *text) {
    sp_json_string string;

    if (text->data || !sp_json_read_string(in, &string) || string.is_escaped) {
        return 0;
    }
    *text = string.text;
    return 1;
}

static int read_record(sp_cursor *in, sp_stored *stored) {
    int more;

    *stored = (sp_stored){{NULL, 0}, {NULL, 0}};
    if (!sp_json_take(in, '{')) {
        return 0;
    }
    do {
        sp_json_string name;

        if (!sp_json_read_name(in, &name)) {
            return 0;
        }
        if (!(sp_json_is(&name, "ShardId")          ? read_text(in, &stored->shard_id)
              : sp_json_is(&name, "SequenceNumber") ? read_text(in, &stored->sequence_number)
                                                    : 0)) {
            return 0;
        }
        more = sp_json_more(in, '}');
    } while (more > 0);
    return more == 0 && stored->shard_id.data && stored->sequence_number.data;
}

static int read_records(sp_cursor *in, sp_stored *stored, size_t count) {
    size_t found = 0;
    int more;

    if (!sp_json_take(in, '[') || count == 0) {
        return 0;
    }
    do {
        if (found == count || !read_record(in, &stored[found])) {
            return 0;
        }
        found++;
        more = sp_json_more(in, ']');
    } while (more > 0);
    return more == 0 && found == count;
}

int sp_put_reply_read(sp_slice reply, sp_stored *stored, size_t count, sp_slice *array) {
    sp_cursor in = {reply.data, reply.data + reply.size};
    int none_failed = 0, more;

    *array = (sp_slice){NULL, 0};
    if (!sp_json_take(&in, '{')) {
        return 0;
    }
    do {
        sp_json_string name;
        sp_slice number;

        if (!sp_json_read_name(&in, &name) || name.is_escaped) { /* an escaped one may be one of ours */
            return 0;
        }
        if (sp_json_is(&name, "Records")) {
            sp_json_skip_space(&in);
            const uint8_t *start = in.p;

            if (array->data || !read_records(&in, stored, count)) {
                return 0;
            }
            *array = (sp_slice){start, (size_t)(in.p - start)};
        } else if (sp_json_is(&name, "FailedRecordCount")) {
            if (none_failed || !sp_json_read_number(&in, &number) || number.size != 1 || *number.data != '0') {
                return 0;
            }
            none_failed = 1;
        } else if (!sp_json_skip(&in)) {
            return 0;
        }
        more = sp_json_more(&in, '}');
    } while (more > 0);
    return more == 0 && sp_json_at_end(&in) && none_failed && array->data;
}
