/* Crops in one go: of a grey picture, or of a JPEG by libjpeg-turbo.
 *
 * `factory/images/crop.py` defines the resampling, in the same integers.
 *
 * Bindings to JPEG libraries decode whole pictures. Here only the blocks that a crop needs are
 * transformed, while all coded data is read, as nothing else tells damage.
 */
#include <math.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>
#include <jerror.h>

#define FRACTION_BITS 14

enum { DONE = 0, DAMAGED = 1, NO_MEMORY = 2, OTHER_SIZE = 3, OTHER_KIND = 4 };

/* How one axis of a crop is made: pixel i is the sum of `taps` weighted pixels from `first[i]`. */
struct axis {
    int length, taps;
    int low, high; /* the first pixel of the picture that is needed, and the one after the last */
    int *first;
    float *weights; /* whole numbers */
};

static double cubic(double t)
{
    t = fabs(t);
    if (t < 1)
        return (1.5 * t - 2.5) * t * t + 1;
    if (t < 2)
        return ((-0.5 * t + 2.5) * t - 4) * t + 2;
    return 0;
}

static int clamp(int value, int low, int high)
{
    return value < low ? low : value > high ? high : value;
}

/* Returns 0 without memory. `free_axis` afterwards in any case. */
static int make_axis(struct axis *axis, double scale, double shift, int length, int picture_length)
{
    double stretch = scale < 1 ? 1 / scale : 1;
    int taps = 2 * (int)ceil(2 * stretch) + 1;
    double *row = malloc(taps * sizeof *row);

    axis->length = length;
    axis->taps = taps;
    axis->first = malloc(length * sizeof *axis->first);
    axis->weights = malloc((size_t)length * taps * sizeof *axis->weights);
    if (row == NULL || axis->first == NULL || axis->weights == NULL) {
        free(row);
        return 0;
    }
    for (int i = 0; i < length; i++) {
        double centre = (i - shift) / scale, sum = 0;
        int first = (int)ceil(centre - 2 * stretch);
        for (int tap = 0; tap < taps; tap++) {
            row[tap] = cubic((first + tap - centre) / stretch);
            sum += row[tap];
        }
        axis->first[i] = first;
        for (int tap = 0; tap < taps; tap++)
            axis->weights[i * taps + tap] = lrint(row[tap] / sum * (1 << FRACTION_BITS));
    }
    axis->low = clamp(axis->first[0], 0, picture_length - 1);
    axis->high = clamp(axis->first[length - 1] + taps, 1, picture_length);
    free(row);
    return 1;
}

static void free_axis(struct axis *axis)
{
    free(axis->first);
    free(axis->weights);
}

/* `pixels` is the part of the picture that both axes need. All values are integers that their types
 * hold exactly; as floating point, any processor adds several of them at once. Columns are written
 * as rows in between, so that both passes run along rows. */
static int resample(const uint8_t *pixels, const struct axis *across, const struct axis *down,
                    uint8_t *crop)
{
    int width = across->high - across->low, height = down->high - down->low;
    int crop_width = across->length, crop_height = down->length;
    double half = (double)(1 << (2 * FRACTION_BITS - 1)), unit = 1.0 / (1 << (2 * FRACTION_BITS));
    float *values = malloc((size_t)width * height * sizeof *values);
    float *row = malloc(width * sizeof *row);
    double *columns = malloc((size_t)width * crop_height * sizeof *columns);
    double *column = malloc(crop_height * sizeof *column);
    int has_memory = values != NULL && row != NULL && columns != NULL && column != NULL;

    for (int i = 0; has_memory && i < width * height; i++)
        values[i] = pixels[i];
    for (int y = 0; has_memory && y < crop_height; y++) {
        memset(row, 0, width * sizeof *row);
        for (int tap = 0; tap < down->taps; tap++) {
            int place = clamp(down->first[y] + tap - down->low, 0, height - 1);
            const float *from = values + (size_t)place * width;
            float weight = down->weights[y * down->taps + tap];
            for (int x = 0; x < width; x++)
                row[x] += weight * from[x];
        }
        for (int x = 0; x < width; x++)
            columns[(size_t)x * crop_height + y] = row[x];
    }
    for (int x = 0; has_memory && x < crop_width; x++) {
        for (int y = 0; y < crop_height; y++)
            column[y] = half;
        for (int tap = 0; tap < across->taps; tap++) {
            int place = clamp(across->first[x] + tap - across->low, 0, width - 1);
            const double *from = columns + (size_t)place * crop_height;
            double weight = across->weights[x * across->taps + tap];
            for (int y = 0; y < crop_height; y++)
                column[y] += weight * from[y];
        }
        for (int y = 0; y < crop_height; y++)
            crop[y * crop_width + x] = column[y] < 0 ? 0 : clamp((int)(column[y] * unit), 0, 255);
    }
    free(values);
    free(row);
    free(columns);
    free(column);
    return has_memory ? DONE : NO_MEMORY;
}

static int crop_picture(const uint8_t *picture, int picture_width, int picture_height, double scale,
                        double x, double y, int width, int height, uint8_t *crop)
{
    struct axis across = {0}, down = {0};
    uint8_t *pixels = NULL;
    int result = NO_MEMORY;

    if (make_axis(&across, scale, x, width, picture_width) &&
        make_axis(&down, scale, y, height, picture_height)) {
        int part_width = across.high - across.low, part_height = down.high - down.low;
        pixels = malloc((size_t)part_width * part_height);
        for (int row = 0; pixels != NULL && row < part_height; row++)
            memcpy(pixels + (size_t)row * part_width,
                   picture + (size_t)(down.low + row) * picture_width + across.low, part_width);
        if (pixels != NULL)
            result = resample(pixels, &across, &down, crop);
    }
    free(pixels);
    free_axis(&across);
    free_axis(&down);
    return result;
}

struct damage {
    struct jpeg_error_mgr handlers;
    jmp_buf escape;
    char *reason;
};

static void stop(j_common_ptr info)
{
    struct damage *damage = (struct damage *)info->err;
    damage->handlers.format_message(info, damage->reason);
    longjmp(damage->escape, info->err->msg_code == JERR_OUT_OF_MEMORY ? NO_MEMORY : DAMAGED);
}

/* libjpeg calls it for the first warning. */
static void note(j_common_ptr info)
{
    struct damage *damage = (struct damage *)info->err;
    damage->handlers.format_message(info, damage->reason);
}

/* The grey pixels from (left, top) to before (right, bottom) of the scaled picture. `row` has room
 * for one of its rows. */
static int decode_part(const uint8_t *jpeg, size_t size, int picture_width, int picture_height,
                       int eighths, int left, int top, int right, int bottom, uint8_t *row,
                       uint8_t *pixels, char *reason)
{
    struct jpeg_decompress_struct info;
    struct damage damage;
    JSAMPROW target = row;
    JDIMENSION first = left, across = right - left;

    info.err = jpeg_std_error(&damage.handlers);
    damage.handlers.error_exit = stop;
    damage.handlers.output_message = note;
    damage.reason = reason;
    switch (setjmp(damage.escape)) {
    case 0:
        break;
    case NO_MEMORY:
        jpeg_destroy_decompress(&info);
        return NO_MEMORY;
    default:
        jpeg_destroy_decompress(&info);
        return DAMAGED;
    }
    jpeg_create_decompress(&info);
    jpeg_mem_src(&info, jpeg, size);
    jpeg_read_header(&info, TRUE);
    if ((int)info.image_width != picture_width || (int)info.image_height != picture_height) {
        jpeg_destroy_decompress(&info);
        return OTHER_SIZE;
    }
    if (info.progressive_mode || info.jpeg_color_space == JCS_RGB) {
        /* Here a pixel may depend on blocks beyond the crop: smoothed, or of scaled-up colours. */
        jpeg_destroy_decompress(&info);
        return OTHER_KIND;
    }
    info.out_color_space = JCS_GRAYSCALE;
    info.scale_num = eighths;
    info.scale_denom = 8;
    jpeg_start_decompress(&info);
    jpeg_crop_scanline(&info, &first, &across); /* moves `first` to the left edge of a block */
    jpeg_skip_scanlines(&info, top);
    while ((int)info.output_scanline < bottom) {
        jpeg_read_scanlines(&info, &target, 1);
        memcpy(pixels, row + left - first, right - left);
        pixels += right - left;
    }
    if (info.output_scanline < info.output_height) {
        /* A skip to the very end would leave the rest unread. */
        jpeg_skip_scanlines(&info, info.output_height - 1 - bottom);
        jpeg_read_scanlines(&info, &target, 1);
    }
    jpeg_finish_decompress(&info);
    jpeg_destroy_decompress(&info);
    return damage.handlers.num_warnings > 0 ? DAMAGED : DONE;
}

/* `picture_width` and `picture_height` are what the JPEG's header has to say, and (scale, x, y) the
 * map from the picture at `eighths` of that to the crop. `reason` has room for JMSG_LENGTH_MAX. */
static int crop_jpeg(const uint8_t *jpeg, size_t size, int picture_width, int picture_height,
                     int eighths, double scale, double x, double y, int width, int height,
                     uint8_t *crop, char *reason)
{
    int scaled_width = (picture_width * eighths + 7) / 8;
    int scaled_height = (picture_height * eighths + 7) / 8;
    struct axis across = {0}, down = {0};
    uint8_t *row = malloc(scaled_width), *pixels = NULL;
    int result = NO_MEMORY;

    if (row != NULL && make_axis(&across, scale, x, width, scaled_width) &&
        make_axis(&down, scale, y, height, scaled_height)) {
        pixels = malloc((size_t)(across.high - across.low) * (down.high - down.low));
        if (pixels != NULL)
            result = decode_part(jpeg, size, picture_width, picture_height, eighths, across.low,
                                 down.low, across.high, down.high, row, pixels, reason);
        if (result == DONE)
            result = resample(pixels, &across, &down, crop);
    }
    free(row);
    free(pixels);
    free_axis(&across);
    free_axis(&down);
    return result;
}
