/** How to get there: connections for the application. Not API. */
@NullMarked
package io.github.repmgrjdbc.internal.connect;

import org.jspecify.annotations.NullMarked;
