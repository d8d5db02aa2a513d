// The same library; Debian has it in a folder of its own.
#pragma once
#include <cjson/cJSON.h>
